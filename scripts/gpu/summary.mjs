// The figures that are asked of the cuda device, from what `run.sh bench` measured in one run: each with what was asked and whether it is met.
//   node scripts/gpu/summary.mjs REFS/gpu-<device>     reads REFS/gpu-<device>{,-own-products,-torch}.csv and -training.jsonl,
//                                                      writes REFS/gpu-<device>-summary.csv
import { existsSync, readFileSync, writeFileSync } from "node:fs";

const prefix = process.argv[2];
if (prefix === undefined) throw new Error("expected the beginning of the names of the measured files");

const cells = (line) => line.split(";").map((cell) => (cell.startsWith('"') ? JSON.parse(cell) : cell));
/** Rows of a file that bench/cuda.mjs or peer/cuda_kernels.py wrote, none where it is missing. */
function rowsOf(path) {
  if (!existsSync(path)) return [];
  const [names, ...lines] = readFileSync(path, "utf8").trim().split("\n").map(cells);
  return lines.map((line) => Object.fromEntries(line.map((cell, i) => [names[i], cell])));
}
const ours = rowsOf(`${prefix}.csv`);
const own = rowsOf(`${prefix}-own-products.csv`);
const torch = rowsOf(`${prefix}-torch.csv`);
const training = existsSync(`${prefix}-training.jsonl`)
  ? readFileSync(`${prefix}-training.jsonl`, "utf8").trim().split("\n").filter(Boolean).map(JSON.parse)
  : [];

const results = [];
function note(figure, value, asked) {
  const isMet = asked === undefined ? "" : value >= asked ? "yes" : "no";
  results.push([figure, value.toFixed(3), asked === undefined ? "" : `>= ${asked}`, isMet]);
}
const timed = (row) => Number(row.microseconds);
const like = (row, other) => row.shape === other.shape && row.dtype === other.dtype;

for (const row of own.filter(({ name }) => name.startsWith("linear"))) {
  const library = ours.find((other) => other.name === `${row.name} (cuBLASLt)` && like(row, other));
  if (library === undefined) continue;
  const asked = row.dtype === "bfloat16" && row.name === "linear" ? 0.98 : undefined;
  note(`own ${row.name} ${row.shape} ${row.dtype} beside cuBLASLt`, timed(library) / timed(row), asked);
}
for (const row of ours) {
  if (row.name === "copy" || !row.shareOfCopy) continue;
  note(`${row.name} ${row.shape} ${row.dtype}, share of the copy's bandwidth`, Number(row.shareOfCopy), 0.85);
}
for (const row of ours.filter(({ name }) => name.startsWith("attention"))) {
  const peers = torch.filter(({ name, ...other }) => name.startsWith(`${row.name} (`) && like(row, other));
  for (const peer of peers) {
    note(`${row.name} ${row.dtype}, speed beside PyTorch's ${peer.name}`, timed(peer) / timed(row));
  }
}
for (const step of training.filter(({ engine }) => engine !== undefined)) {
  const peer = training.find((other) => other.peer !== undefined && other.shape === step.shape);
  if (peer === undefined) continue;
  const name = `LoRA step ${step.shape}${step.graphKernels === undefined ? "" : " as a CUDA graph"}`;
  note(`${name}, tokens/s beside HF + PEFT`, step.tokensPerSecond / peer.tokens_per_second, 1.2);
  note(`${name}, memory of HF + PEFT as a multiple of ours`, peer.peak_mib / step.peakMib, 1);
}
for (const { shape, gpuBusyShare } of training.filter((line) => line.gpuBusyShare !== undefined)) {
  note(`LoRA step ${shape}, share of the time in which the GPU works`, gpuBusyShare, 0.9);
}

const lines = [["figure", "value", "asked", "met"], ...results];
writeFileSync(
  `${prefix}-summary.csv`,
  lines.map((line) => `${line.map((cell) => JSON.stringify(cell)).join(";")}\n`).join(""),
);
for (const [figure, value, asked, isMet] of lines) console.log(`${figure.padEnd(90)} ${value} ${asked} ${isMet}`);
const sources = { "own products": own, PyTorch: torch, "training steps": training };
const missing = Object.keys(sources).filter((name) => sources[name].length === 0);
if (missing.length > 0) console.log(`not measured in this run: ${missing.join(", ")}`);
