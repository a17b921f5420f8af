// Times the kernels of the cuda device, beside the bandwidth of a plain copy in the same run:
//   node bench/cuda.mjs [--csv FILE] [--quick] [--only linear]
// FMS_ACCEL_CUBLASLT=0 shows the device's own products in place of cuBLASLt's.
// GB/s count what an operation must read and write at least; TFLOP/s count multiply-adds as two. shareOfCopy is the bandwidth beside that of
// the copy of the same dtype.
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import {
  AdamW,
  add,
  cast,
  crossEntropy,
  cudaStatus,
  dropout,
  Generator,
  layerNorm,
  linear,
  lowRankLinear,
  matmul,
  mul,
  noGrad,
  randn,
  reshape,
  rmsNorm,
  rotary,
  scaledDotProductAttention,
  scope,
  setDefaultDevice,
  silu,
  softmax,
  sum,
  synchronize,
  tensor,
  workStats,
  zeros,
} from "@fms-accel/tensor";

const { values: options } = parseArgs({
  options: { csv: { type: "string" }, quick: { type: "boolean", default: false }, only: { type: "string" } },
});
setDefaultDevice("cuda");
const device = cudaStatus().devices[0].name;
const generator = new Generator(1);
const rows = [];
let copyBandwidth = Number.NaN; // bytes a second, of the dtype at hand

/** Seconds of one call: the best of several timings, each long enough to hide the launch. */
function secondsOf(body) {
  const timed = (count) => {
    synchronize("cuda");
    const start = process.hrtime.bigint();
    for (let i = 0; i < count; i++) scope(body);
    synchronize("cuda");
    return Number(process.hrtime.bigint() - start) * 1e-9;
  };
  timed(2);
  const count = options.quick ? 1 : Math.max(1, Math.min(200, Math.round(0.05 / (timed(3) / 3))));
  return Math.min(...Array.from({ length: options.quick ? 1 : 5 }, () => timed(count) / count));
}

function report(name, shape, dtype, body, { bytes, flops }) {
  if (options.only !== undefined && name !== "copy" && !name.startsWith(options.only)) return;
  const before = workStats("cuda").libraryProducts;
  const seconds = secondsOf(body);
  if (workStats("cuda").libraryProducts > before) name += " (cuBLASLt)";
  const row = { device, name, shape, dtype, microseconds: (seconds * 1e6).toFixed(1) };
  row.gigabytesPerSecond = bytes === undefined ? "" : (bytes / seconds / 1e9).toFixed(0);
  row.teraflops = flops === undefined ? "" : (flops / seconds / 1e12).toFixed(1);
  if (name === "copy") copyBandwidth = bytes / seconds;
  row.shareOfCopy = bytes === undefined ? "" : (bytes / seconds / copyBandwidth).toFixed(3);
  rows.push(row);
  console.log(Object.values(row).join("  "));
}

/** A cell of CSV: numbers as they are, text in quotes. */
const cell = (value) => (/^[\d.]+$/.test(value) ? value : JSON.stringify(value));

const tokens = options.quick ? 64 : 8192;
const width = options.quick ? 512 : 4096;
const shapesOfProducts = options.quick
  ? [[64, 64, 64]]
  : [
      [4096, 4096, 4096],
      [8192, 4096, 11008],
      [8192, 2048, 2048],
      [2048, 576, 1536],
    ];
const [batch, heads, length, dim] = options.quick ? [1, 2, 64, 128] : [4, 32, 2048, 128];
for (const dtype of ["bfloat16", "float32"]) {
  const size = dtype === "bfloat16" ? 2 : 4;
  const count = tokens * width;
  const x = cast(randn([tokens, width], { generator }), dtype);
  const y = cast(randn([tokens, width], { generator }), dtype);
  const weight = cast(randn([width], { generator }), dtype);
  const shape = `${tokens}x${width}`;
  const target = zeros([tokens, width], { dtype });
  noGrad(() => {
    report("copy", shape, dtype, () => target.copyFrom(x), { bytes: 2 * count * size });
    report("add", shape, dtype, () => add(x, y), { bytes: 3 * count * size });
    report("mul", shape, dtype, () => mul(x, y), { bytes: 3 * count * size });
    report("silu", shape, dtype, () => silu(x), { bytes: 2 * count * size });
    report("softmax", shape, dtype, () => softmax(x, -1), { bytes: 2 * count * size });
    report("layerNorm (composed)", shape, dtype, () => layerNorm(x, weight, weight, 1e-5), {
      bytes: 2 * count * size,
    });
    report("rmsNorm", shape, dtype, () => rmsNorm(x, weight, 1e-5), { bytes: 2 * count * size });
    report("dropout", shape, dtype, () => dropout(x, 0.1, generator), { bytes: 2 * count * size });
    const labels = tensor(Int32Array.from({ length: tokens }, (_, row) => (row * 31) % width));
    report("crossEntropy", shape, dtype, () => crossEntropy(x, labels), { bytes: count * size });
    const inHeads = reshape(x, [1, tokens, width / 128, 128]);
    const phases = cast(randn([1, tokens, 1, 128], { generator }), dtype);
    report("rotary", shape, dtype, () => rotary(inHeads, phases, phases), { bytes: 2 * count * size });
    const one = cast(randn([1, 1, width], { generator }), dtype);
    report("linear of one row", `1x${width}x${tokens}`, dtype, () => linear(one, x), { bytes: count * size });
    report("sum of rows", shape, dtype, () => sum(x, 1), { bytes: count * size });
    report("sum of columns", shape, dtype, () => sum(x, 0), { bytes: count * size });
    for (const [m, k, n] of shapesOfProducts) {
      const a = cast(randn([m, k], { generator }), dtype);
      const b = cast(randn([n, k], { generator }), dtype);
      const c = cast(randn([m, n], { generator }), dtype);
      report("linear", `${m}x${k}x${n}`, dtype, () => linear(a, b), { flops: 2 * m * n * k });
      report("linear, gradient of x", `${m}x${n}x${k}`, dtype, () => matmul(c, b), { flops: 2 * m * n * k });
      report("linear, gradient of W", `${n}x${m}x${k}`, dtype, () => matmul(c, a, { transposeA: true }), {
        flops: 2 * m * n * k,
      });
      const [down, up] = [randn([16, k], { generator }), randn([n, 16], { generator })];
      report("linear with LoRA", `${m}x${k}x${n}, rank 16`, dtype, () => lowRankLinear(a, b, down, up, 1), {
        flops: 2 * m * n * k + 32 * m * (n + k),
      });
    }
  });
  const normed = [x, weight].map((one) => {
    const leaf = cast(one, dtype).detach();
    leaf.requiresGrad = true;
    return leaf;
  });
  report(
    "rmsNorm forward and backward",
    shape,
    dtype,
    () => {
      rmsNorm(normed[0], normed[1], 1e-5).backward(y);
      for (const one of normed) {
        one.grad?.dispose();
        one.grad = undefined;
      }
    },
    { bytes: 5 * count * size }, // x and y; then x, the gradient of y and that of x
  );
  const [q, k, v] = [0, 1, 2].map(() => {
    const one = cast(randn([batch, heads, length, dim], { generator }), dtype);
    one.requiresGrad = true;
    return one;
  });
  const flops = 2 * batch * heads * length * length * dim; // two products of half a square
  report(
    "attention forward",
    `${batch}x${heads}x${length}x${dim} causal`,
    dtype,
    () => noGrad(() => scaledDotProductAttention(q, k, v, { isCausal: true })),
    { flops },
  );
  report(
    "attention forward and backward",
    `${batch}x${heads}x${length}x${dim} causal`,
    dtype,
    () => {
      sum(scaledDotProductAttention(q, k, v, { isCausal: true })).backward();
      for (const one of [q, k, v]) {
        one.grad?.dispose();
        one.grad = undefined;
      }
    },
    { flops: 3.5 * flops },
  );
}
const parameter = randn([options.quick ? 1 << 14 : 64 << 20], { generator });
parameter.requiresGrad = true;
parameter.grad = randn([parameter.numel], { generator });
const optimizer = new AdamW([{ params: [parameter] }], { lr: 1e-4 });
report("AdamW", `${parameter.numel}`, "float32", () => optimizer.step(), { bytes: 7 * 4 * parameter.numel });

if (options.csv !== undefined) {
  const lines = [Object.keys(rows[0]), ...rows.map((row) => Object.values(row).map((value) => cell(String(value))))];
  writeFileSync(options.csv, lines.map((line) => `${line.join(";")}\n`).join(""));
}
