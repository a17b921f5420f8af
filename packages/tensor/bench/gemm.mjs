// Builds and runs the benchmark of GEMM: `node packages/tensor/bench/gemm.mjs [--quick] [--json] [--threads N] [--filter TEXT] …`
// (`--help` lists the options). Needs `npm run build:native` of this package to have run once.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const build = fileURLToPath(new URL("../build", import.meta.url));
if (!existsSync(join(build, "CMakeCache.txt"))) {
  console.error("The native engine is not built yet: run `npm run build:native` in packages/tensor first.");
  process.exit(1);
}
const made = spawnSync("cmake", ["--build", build, "--config", "Release", "--target", "native_gemm"], {
  encoding: "utf8",
});
if (made.status !== 0) {
  console.error(made.stdout, made.stderr);
  process.exit(1);
}
const program = [join(build, "Release", "native_gemm"), join(build, "native_gemm")].find((path) => existsSync(path));
process.exit(spawnSync(program ?? "native_gemm", process.argv.slice(2), { stdio: "inherit" }).status ?? 1);
