// Puts sample configurations and benchmark scenarios into @fms-accel/framework while it is packed: `fms-accel configs` and
// `fms-accel arguments` read them where there is no repository.
//
//   node scripts/bundle-samples.mjs [--remove]
import { cpSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const repository = fileURLToPath(new URL("../", import.meta.url));
const target = join(repository, "packages", "framework");
for (const folder of ["sample-configurations", "scripts"])
  rmSync(join(target, folder), { recursive: true, force: true });
if (!process.argv.includes("--remove")) {
  for (const folder of ["sample-configurations", join("scripts", "benchmarks")]) {
    for (const name of readdirSync(join(repository, folder)).filter((file) => /\.(?:yaml|json)$/.test(file))) {
      cpSync(join(repository, folder, name), join(target, folder, name));
    }
  }
}
