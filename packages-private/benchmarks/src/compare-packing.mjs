// Padding-free multipack training against padded batches, ours and those of Hugging Face + PEFT, on Orca-like lengths in one run.
//   node src/compare-packing.mjs [--python venv/bin/python] [--samples 32] [--batch 16] [--dtype bfloat16] [--out packing-135m.csv]
// Without --python (a virtual environment with peer/requirements.txt) only ours are timed, and the output says so. Nothing else may run meanwhile.
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { runProgram, sayIfPeerIsSkipped, writeFigures } from "./peer-comparison.mjs";
import { orcaBatches } from "./orca-batches.mjs";

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
  const row = JSON.parse(runProgram(command, flags, options.threads).at(-1));
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
sayIfPeerIsSkipped(options.python);
if (options.python !== undefined) {
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
writeFigures(options.out, rows);
