// Times training steps of one shape in this process and prints one line of JSON.
//   node src/train-step.mjs --shape 135m [--method lora|full] --dtype bfloat16 --lengths 512,512,512,512 [--steps 4] [--profile] [--growth]
// With --device cuda also --graphs: the step is captured once and replayed.
import { parseArgs } from "node:util";
import { AutoModelForCausalLM, getPeftModel, LoraConfig, shiftedTargets } from "@fms-accel/models";
import {
  AdamW,
  clipGradients,
  clipGradNorm,
  CudaGraph,
  engineInfo,
  memoryStats,
  prepackWeight,
  reshape,
  scope,
  setDefaultDevice,
  startProfile,
  tensor,
} from "@fms-accel/tensor";
import { SHAPES, stepFlops } from "./shapes.mjs";

const { values: options } = parseArgs({
  options: {
    shape: { type: "string", default: "135m" },
    method: { type: "string", default: "lora" },
    dtype: { type: "string", default: "bfloat16" },
    device: { type: "string", default: "cpu" },
    lengths: { type: "string", default: "512,512,512,512" },
    steps: { type: "string", default: "4" },
    profile: { type: "boolean", default: false },
    checkpointing: { type: "boolean", default: false },
    prepack: { type: "boolean", default: false },
    growth: { type: "boolean", default: false },
    graphs: { type: "boolean", default: false },
  },
});

setDefaultDevice(options.device);
const shape = SHAPES[options.shape];
const lengths = options.lengths.split(",").map(Number);
const width = Math.max(...lengths);
const model = AutoModelForCausalLM.fromConfig(shape, { dtype: options.dtype });
const adapted =
  options.method === "full"
    ? model
    : getPeftModel(model, new LoraConfig({ r: 16, loraAlpha: 16, loraDropout: 0, targetModules: "all-linear" }));
adapted.train();
model.gradientCheckpointing = options.checkpointing;
const trainable = [...adapted.parameters()].filter((parameter) => parameter.requiresGrad);
if (options.prepack) {
  for (const [name, parameter] of adapted.namedParameters()) {
    const isMatrix = parameter.ndim === 2 && !parameter.requiresGrad && !name.includes("embed_tokens");
    if (isMatrix) prepackWeight(parameter, options.dtype, { backward: true });
  }
}
const optimizer = new AdamW([{ params: trainable, weightDecay: 0.01 }], { lr: 1e-4 });

let state = 1;
const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
const ids = new Int32Array(lengths.length * width);
const labels = new Int32Array(ids.length);
const mask = new Int32Array(ids.length);
lengths.forEach((length, row) => {
  for (let t = 0; t < width; t++) {
    const at = row * width + t;
    ids[at] = 3 + Math.floor(random() * (shape.vocab_size - 3));
    mask[at] = t < length ? 1 : 0;
    labels[at] = t < length ? ids[at] : -100;
  }
});
const isPadded = lengths.some((length) => length !== width);

const batch = [lengths.length, width];
let graph;
if (options.graphs) {
  plainStep(); // makes what is made on first use
  const own = Object.fromEntries(
    Object.entries({ inputIds: ids, labels, ...(isPadded && { attentionMask: mask }) }).map(([name, values]) => [
      name,
      tensor(values, { shape: batch }),
    ]),
  );
  const { rows, targets, count } = shiftedTargets(labels, batch, { isFilled: true });
  const facts = {
    targets: new Map([[own.labels, { rows: tensor(rows), labels: tensor(targets), count }]]),
    hidesKeys: new Map([[own.attentionMask, false]]),
    sequenceIds: new Map(),
  };
  graph = CudaGraph.capture(() => {
    const { loss } = adapted.forward({ ...own, facts });
    loss.backward();
    const values = reshape(loss.detach(), [1]);
    optimizer.step(clipGradients(trainable, 1, values));
    optimizer.zeroGrad();
    return values;
  });
}

function step() {
  return graph === undefined ? plainStep() : graph.replay().item();
}

function plainStep() {
  return scope(() => {
    const { loss } = adapted.forward({
      inputIds: tensor(ids, { shape: batch }),
      labels: tensor(labels, { shape: batch }),
      ...(isPadded ? { attentionMask: tensor(mask, { shape: batch }) } : {}),
    });
    loss.backward();
    clipGradNorm(trainable, 1);
    optimizer.step();
    optimizer.zeroGrad();
    return loss.item();
  });
}

step();
const steps = Number(options.steps);
const seconds = [];
const residentAfter = [];
let loss;
for (let i = 0; i < steps; i++) {
  const start = process.hrtime.bigint();
  loss = step();
  seconds.push(Number(process.hrtime.bigint() - start) * 1e-9);
  residentAfter.push(Math.round(process.memoryUsage.rss() / 2 ** 20));
}
// Of the device where it is a GPU (as the peer counts it), else of the process.
const peakBytes =
  options.device === "cpu" ? process.resourceUsage().maxRSS * 1024 : memoryStats(options.device).peakBytes;
const peakMib = Math.round(peakBytes / 2 ** 20);
const best = Math.min(...seconds);
const tokens = lengths.reduce((a, b) => a + b, 0);
const flops = stepFlops(shape, lengths, { method: options.method });
if (options.profile) {
  const stop = startProfile();
  const start = process.hrtime.bigint();
  step();
  const total = Number(process.hrtime.bigint() - start) * 1e-9;
  const rows = stop();
  const native = rows.reduce((sum, row) => sum + row.seconds, 0);
  console.error(`operation                                  calls   seconds  share   GFLOP/s`);
  for (const row of [...rows.slice(0, 40), { operation: "JavaScript", calls: 0, seconds: total - native, flops: 0 }]) {
    console.error(
      `${row.operation.padEnd(40)} ${String(row.calls).padStart(7)} ${row.seconds.toFixed(4).padStart(9)} ${((100 * row.seconds) / total).toFixed(1).padStart(5)}%` +
        (row.flops > 0 ? ` ${(row.flops / row.seconds / 1e9).toFixed(0).padStart(9)}` : ""),
    );
  }
}
console.log(
  JSON.stringify({
    engine: "fms-accel",
    isa: engineInfo().isa,
    threads: engineInfo().threads,
    shape: options.shape,
    method: options.method,
    dtype: options.dtype,
    samples: lengths.length,
    width,
    tokens,
    secondsBest: best,
    tokensPerSecond: tokens / best,
    gflopsPerSecond: flops / best / 1e9,
    loss,
    ...(graph && { graphKernels: graph.kernels }),
    peakMib,
    liveMib: Math.round(memoryStats(options.device).liveBytes / 2 ** 20),
    trainable: trainable.reduce((sum, parameter) => sum + parameter.numel, 0),
    ...(options.growth ? { residentAfter } : {}),
  }),
);
