// GFLOP/s of variable-length attention and its share of the machine's peak, which is measured before and after every row.
//   node packages/attention-and-distributed-packing/bench/attention.mjs [--quick] [--json] [--threads 1,2] [--lengths 512,2048,short] [--dtypes bfloat16] [--dims 64,128]
// Useful work only: 4 · dim · pairs forward and 10 · dim · pairs backward, where pairs are those that the causal mask shows. Needs
// `npm run build` and `npm run build:native` to have run.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { adoptTensor, cast, Generator, randn, setNumThreads, tensor } from "@fms-accel/tensor";
import { nativeAddon } from "../dist/native.js";

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    threads: { type: "string", default: "1,2" },
    lengths: { type: "string" },
    dtypes: { type: "string", default: "bfloat16,float32" },
    dims: { type: "string", default: "64,128" },
    seconds: { type: "string", default: "0.3" },
  },
});
const lengths = (options.lengths ?? (options.quick ? "512,2048,short" : "512,1024,2048,4096,8192,short")).split(",");
const numbers = (text) => text.split(",").map(Number);

const peakProgram = fileURLToPath(new URL("../../tensor/bench/gemm.mjs", import.meta.url));
/** GFLOP/s of multiply-adds in registers, by dtype. */
function measurePeak(threads) {
  return JSON.parse(
    execFileSync(process.execPath, [peakProgram, "--peak", "--threads", String(threads)], { encoding: "utf8" }),
  );
}

/** 30 lengths as samples have them: mean 289, many short, few long; sums of two exponential numbers. */
function shortLengths() {
  let state = 20;
  const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
  return Array.from({ length: 30 }, () => Math.max(8, Math.round(-144.5 * Math.log(random() * random()))));
}

/** Best seconds of a call, over at least three. */
function bestTime(run) {
  run();
  let best = Infinity;
  const end = performance.now() + Number(options.seconds) * 1e3;
  for (let runs = 0; runs < 3 || performance.now() < end; runs++) {
    const start = performance.now();
    run();
    best = Math.min(best, (performance.now() - start) * 1e-3);
  }
  return best;
}

const disposing = (handles) => handles.forEach((handle) => adoptTensor(handle).dispose());

function measure(dtype, dim, length, threads) {
  // As in models of 135M and 8B parameters; long sequences with a quarter of the latter's heads.
  const [heads, kvHeads] = dim === 64 ? [9, 3] : length === "8192" ? [8, 2] : [32, 8];
  const sequences = length === "short" ? shortLengths() : [Number(length)];
  const bounds = [0];
  for (const n of sequences) bounds.push(bounds.at(-1) + n);
  const tokens = bounds.at(-1);
  const generator = new Generator(1);
  const make = (count) => cast(randn([tokens, count, dim], { generator }), dtype);
  const [q, k, v, g] = [make(heads), make(kvHeads), make(kvHeads), make(heads)];
  const cuSeqlens = tensor(Int32Array.from(bounds), { dtype: "int32" });
  const operands = [q, k, v, cuSeqlens].map(({ handle }) => handle);
  const settings = [dim ** -0.5, 0, true, 0, dtype === "bfloat16", dtype];
  const addon = nativeAddon();
  setNumThreads(threads);
  const before = measurePeak(threads);
  const forward = bestTime(() => disposing(addon.variableLengthAttention(...operands, ...settings)));
  const [out, lse] = addon.variableLengthAttention(...operands, ...settings).map(adoptTensor);
  const backward = bestTime(() =>
    disposing(addon.variableLengthAttentionGradients(...operands, out.handle, lse.handle, g.handle, ...settings)),
  );
  const after = measurePeak(threads);
  for (const x of [q, k, v, g, cuSeqlens, out, lse]) x.dispose();
  const pairs = heads * sequences.reduce((sum, n) => sum + (n * (n + 1)) / 2, 0);
  const gflops = { forward: (4 * dim * pairs) / forward / 1e9, backward: (10 * dim * pairs) / backward / 1e9 };
  const peak = Math.max(before[dtype], after[dtype]);
  return { dtype, dim, length, threads, peak, peakSpread: Math.abs(before[dtype] - after[dtype]) / peak, ...gflops };
}

if (!options.json) console.log("dtype     dim  length  threads     peak   forward GFLOP/s   backward GFLOP/s");
for (const threads of numbers(options.threads)) {
  for (const dtype of options.dtypes.split(",")) {
    for (const dim of numbers(options.dims)) {
      for (const length of lengths) {
        const row = measure(dtype, dim, length, threads);
        if (options.json) {
          console.log(JSON.stringify(row));
          continue;
        }
        const share = (value) =>
          `${value.toFixed(1).padStart(7)} (${((100 * value) / row.peak).toFixed(0).padStart(2)} %)`;
        const noise = row.peakSpread > 0.03 ? `  the peak moved by ${(100 * row.peakSpread).toFixed(0)} %` : "";
        console.log(
          `${dtype.padEnd(9)} ${String(dim).padStart(3)} ${length.padStart(7)} ${String(threads).padStart(8)} ${row.peak.toFixed(1).padStart(8)}  ` +
            `${share(row.forward)}     ${share(row.backward)}${noise}`,
        );
      }
    }
  }
}
