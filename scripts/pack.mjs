// Packs every package that is published, as npm would have it: one tarball each.
//
//   node scripts/pack.mjs out/packages
//
// The packages have to be built (npm run build). A project of npm adds all tarballs at once; one of pnpm needs the lines for its
// pnpm-workspace.yaml that are printed, because a tarball's own dependencies are looked for in the registry otherwise.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const repository = fileURLToPath(new URL("../", import.meta.url));
const target = resolve(process.argv[2] ?? join(repository, "out", "packages"));
const { packageManager } = JSON.parse(readFileSync(join(repository, "package.json"), "utf8"));

const folders = readdirSync(join(repository, "packages")).map((name) => join(repository, "packages", name));
const packed = [];
rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
for (const folder of folders.filter((path) => existsSync(join(path, "package.json")))) {
  const { name, version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const command = ["--yes", packageManager, "pack", "--pack-destination", target];
  const { status, stdout, stderr } = spawnSync("npx", command, { cwd: folder, encoding: "utf8" });
  if (status !== 0) throw new Error(`${name} cannot be packed:\n${stdout}${stderr}`);
  packed.push({ name, file: join(target, `${name.replace("@", "").replace("/", "-")}-${version}.tgz`) });
}
console.log(`npm install ${join(target, "*.tgz")}\n\npnpm-workspace.yaml, for pnpm:\noverrides:`);
for (const { name, file } of packed) console.log(`  "${name}": "file:${file}"`);
