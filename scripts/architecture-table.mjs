// Writes README's table of architectures: what can be done with each is found out by doing it with a small model.
//
//   node scripts/architecture-table.mjs
//
// Needs the native engine (npm run build:native). packages/models/test/architectures/abilities.test.ts does the work, and without this
// script compares the table with what it finds.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const cwd = fileURLToPath(new URL("..", import.meta.url));
const env = { ...process.env, FMS_ACCEL_WRITE_README: "1" };
const words = ["vitest", "run", "packages/models/test/architectures/abilities.test.ts", "--maxWorkers=1"];
const { status } = spawnSync("npx", words, { cwd, env, stdio: "inherit" });
process.exitCode = status ?? 1;
