// Times an epoch of LoRA steps on Orca-like lengths in this process and prints one line of JSON.
//   node src/packing-steps.mjs --layout padded|packed [--shape 135m] [--dtype bfloat16] [--samples 32] [--batch 16]
// "padded": batches as they come, padded, with the engine's attention. "packed": multipack batches, padding-free, with variable-length attention.
import { parseArgs } from "node:util";
import { flattenSamples, paddingFreeRule } from "@fms-accel/attention-and-distributed-packing";
import { ModelPatcher } from "@fms-accel/framework";
import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@fms-accel/models";
import { AdamW, clipGradNorm, engineInfo, scope } from "@fms-accel/tensor";
import { batchInputs, collate } from "@fms-accel/trainer";
import { orcaBatches } from "./orca-batches.mjs";
import { SHAPES } from "./shapes.mjs";

const { values: options } = parseArgs({
  options: {
    layout: { type: "string" },
    shape: { type: "string", default: "135m" },
    dtype: { type: "string", default: "bfloat16" },
    samples: { type: "string", default: "32" },
    batch: { type: "string", default: "16" },
  },
});
const isPacked = options.layout === "packed";
const shape = SHAPES[options.shape];
const batches = (await orcaBatches(Number(options.samples), Number(options.batch)))[isPacked ? "packed" : "padded"];

const model = AutoModelForCausalLM.fromConfig(shape, { dtype: options.dtype });
const adapted = getPeftModel(
  model,
  new LoraConfig({ r: 16, loraAlpha: 16, loraDropout: 0, targetModules: "all-linear" }),
);
adapted.train();
if (isPacked) {
  const patcher = new ModelPatcher();
  patcher.register(paddingFreeRule((line) => console.error(line)));
  patcher.patch(adapted);
}
const trainable = [...adapted.parameters()].filter((parameter) => parameter.requiresGrad);
const optimizer = new AdamW([{ params: trainable, weightDecay: 0.01 }], { lr: 1e-4 });

let state = 1;
const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
function sampleOf(length) {
  const inputIds = Int32Array.from({ length }, () => 3 + Math.floor(random() * (shape.vocab_size - 3)));
  return { inputIds, labels: inputIds };
}

function step(lengths) {
  const samples = lengths.map(sampleOf);
  const batch = isPacked ? flattenSamples(samples) : collate(samples, { padTokenId: 0 });
  scope(() => {
    const { loss } = adapted.forward(batchInputs(batch, "cpu"));
    loss.backward();
    clipGradNorm(trainable, 1);
    optimizer.step();
    optimizer.zeroGrad();
  });
  return batch.shape[0] * batch.shape[1];
}

step([64, 32]); // packs the frozen weights
const start = performance.now();
const computed = batches.reduce((sum, lengths) => sum + step(lengths), 0);
const seconds = (performance.now() - start) / 1e3;
const samples = batches.reduce((sum, { length }) => sum + length, 0);
const tokens = batches.flat().reduce((sum, length) => sum + length, 0);
console.log(
  JSON.stringify({
    layout: options.layout,
    threads: engineInfo().threads,
    samples,
    steps: batches.length,
    tokens,
    computed,
    seconds,
    samplesPerSecond: samples / seconds,
    tokensPerSecond: tokens / seconds,
    peakMib: Math.round(process.resourceUsage().maxRSS / 1024),
  }),
);
