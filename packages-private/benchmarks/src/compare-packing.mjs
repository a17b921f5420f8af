// Padding-free multipack training against padded batches, ours and those of Hugging Face + PEFT, on Orca-like lengths in one run.
//   node src/compare-packing.mjs [--python venv/bin/python] [--samples 32] [--batch 16] [--dtype bfloat16] [--out packing-135m.csv]
// Without --python (a virtual environment with peer/requirements.txt) only ours are timed, and the output says so. Nothing else may run meanwhile.
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { orcaBatches } from "./orca-batches.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const { values: options } = parseArgs({
  options: {
    python: { type: "string" },
    shape: { type: "string", default: "135m" },
    dtype: { type: "string", default: "bfloat16" },
    samples: { type: "string", default: "32" },
    batch: { type: "string", default: "16" },
    threads: { type: "string", default: String(cpus().length) },
    out: { type: "string" },
  },
});

function run(command, flags) {
  const result = spawnSync(command, flags, {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, FMS_ACCEL_NUM_THREADS: options.threads },
  });
  if (result.status !== 0)
    throw new Error(`${command} ${flags.join(" ")} ended with ${result.status ?? result.signal}`);
  const row = JSON.parse(result.stdout.trim().split("\n").at(-1));
  console.log(JSON.stringify(row));
  return row;
}

const { shape, dtype, samples, batch } = options;
const ours = (layout) =>
  run(process.execPath, [
    "src/packing-steps.mjs",
    "--layout",
    layout,
    "--shape",
    shape,
    "--dtype",
    dtype,
    "--samples",
    samples,
    "--batch",
    batch,
  ]);

const rows = [ours("packed"), ours("padded")];
if (options.python === undefined) {
  console.log("the peer was skipped: give --python, a virtual environment with peer/requirements.txt");
} else {
  const { padded } = await orcaBatches(Number(samples), Number(batch));
  const flags = ["--shape", shape, "--dtype", dtype, "--threads", options.threads];
  rows.push(run(options.python, ["peer/padded_steps.py", JSON.stringify(padded), ...flags]));
}
rows.push(ours("packed"));

const best = (layout) =>
  Math.max(...rows.filter((row) => row.layout.endsWith(layout)).map(({ samplesPerSecond }) => samplesPerSecond));
const packed = best("packed");
for (const row of rows) row.timesFaster = packed / row.samplesPerSecond;
for (const { layout, samplesPerSecond, timesFaster, peakMib } of rows.slice(1, -1)) {
  console.log(
    `${layout}: ${samplesPerSecond.toFixed(3)} samples/s, ${peakMib} MiB; packed is ${timesFaster.toFixed(2)} times faster`,
  );
}
if (options.out !== undefined) {
  mkdirSync(join(root, "refs"), { recursive: true });
  const columns = Object.keys(rows[0]);
  const lines = rows.map((row) => columns.map((column) => JSON.stringify(row[column] ?? "")).join(";"));
  writeFileSync(join(root, "refs", options.out), `${columns.join(";")}\n${lines.join("\n")}\n`);
}
