// Training steps against Hugging Face + PEFT on this machine, in one run: peak, peer, ours, ours, peer, peak.
//   node src/compare-training.mjs [--python venv/bin/python] [--shape 135m,moe] [--method lora|full] [--dtype bfloat16,float32] [--lengths 512,512,512,512]
// Without --python (a virtual environment with peer/requirements.txt) only ours is timed, and the output says so. Nothing else may run meanwhile.
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ROOT, runProgram, sayIfPeerIsSkipped, writeFigures } from "./peer-comparison.mjs";

const { values: options } = parseArgs({
  options: {
    python: { type: "string" },
    shape: { type: "string", default: "135m" },
    method: { type: "string", default: "lora" },
    dtype: { type: "string", default: "bfloat16,float32" },
    lengths: { type: "string", default: "512,512,512,512" },
    steps: { type: "string", default: "4" },
    threads: { type: "string", default: String(cpus().length) },
    out: { type: "string" },
  },
});

const run = (command, flags) => runProgram(command, flags, options.threads);

// GFLOP/s of multiply-adds in registers, on all threads.
function peak(dtype) {
  const program = join(ROOT, "../../packages/tensor/bench/gemm.mjs");
  const filter = `dense forward ${dtype === "bfloat16" ? "bf16" : "f32"} 2048x2048 512 ${options.threads}`;
  const rows = run(process.execPath, [program, "--json", "--threads", options.threads, "--filter", filter]).map(
    (line) => JSON.parse(line),
  );
  return Math.max(...rows.map((row) => row.peak));
}

const ours = (shape, dtype) =>
  JSON.parse(
    run(process.execPath, [
      "src/train-step.mjs",
      "--shape",
      shape,
      "--method",
      options.method,
      "--dtype",
      dtype,
      "--lengths",
      options.lengths,
      "--steps",
      options.steps,
    ]).at(-1),
  );

function theirs(shape, dtype) {
  if (options.python === undefined) return undefined;
  const line = run(options.python, [
    "peer/train_step.py",
    "--shape",
    shape,
    "--method",
    options.method,
    "--dtype",
    dtype,
    "--lengths",
    options.lengths,
    "--threads",
    options.threads,
    "--steps",
    options.steps,
    "--device",
    "cpu",
  ]).at(-1);
  return JSON.parse(line);
}

const results = [];
const shapes = options.shape.split(",");
for (const [shape, dtype] of shapes.flatMap((shape) => options.dtype.split(",").map((dtype) => [shape, dtype]))) {
  const peaks = [peak(dtype)];
  const peers = [theirs(shape, dtype)];
  const own = [ours(shape, dtype), ours(shape, dtype)];
  peers.push(theirs(shape, dtype));
  peaks.push(peak(dtype));
  const best = own.reduce((a, b) => (b.tokensPerSecond > a.tokensPerSecond ? b : a));
  const peer = peers.reduce((a, b) =>
    b !== undefined && (a === undefined || b.tokens_per_second > a.tokens_per_second) ? b : a,
  );
  const row = {
    shape,
    method: options.method,
    dtype,
    lengths: options.lengths,
    threads: Number(options.threads),
    peakGflops: peaks,
    tokensPerSecond: best.tokensPerSecond,
    shareOfPeak: best.gflopsPerSecond / Math.max(...peaks),
    peakMib: Math.max(...own.map((one) => one.peakMib)),
    peerTokensPerSecond: peer?.tokens_per_second,
    peerPeakMib: peer?.peak_mib,
    timesFaster: peer && best.tokensPerSecond / peer.tokens_per_second,
    memoryShare: peer && Math.max(...own.map((one) => one.peakMib)) / peer.peak_mib,
  };
  results.push(row);
  console.log(JSON.stringify(row));
}
sayIfPeerIsSkipped(options.python);
writeFigures(options.out, results);
