// Saves a checkpoint, opened from a directory or made from its config.json, after a training step if asked, and the logits that this
// project computes for it.
//
//   node scripts/compare/save-checkpoint.mjs MODEL_DIRECTORY OUTPUT [--fresh] [--train] [--shards 60KB]
//
// Used by compare_checkpoint.py. Needs a build (npm run build).
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { AutoModelForCausalLM, savePretrained } from "../../packages/models/dist/index.js";
import { scope, tensor } from "../../packages/tensor/dist/index.js";
import { Trainer } from "../../packages/trainer/dist/index.js";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    fresh: { type: "boolean", default: false },
    train: { type: "boolean", default: false },
    shards: { type: "string" },
  },
});
const [source, output] = positionals;
const opened = await AutoModelForCausalLM.fromPretrained(source, { dtype: "float32" });
const model = values.fresh ? AutoModelForCausalLM.fromConfig(opened.config, { seed: 5, dtype: "float32" }) : opened;
const length = 15;
const ids = Int32Array.from({ length: 2 * length }, (_, i) => (i * 37 + 11) % model.config.vocabSize);
if (values.train) {
  const batch = {
    shape: [2, length],
    inputIds: ids,
    labels: ids,
    tokens: 2 * length,
    trainableTokens: 2 * (length - 1),
  };
  const trainLoader = {
    sampleCount: 2,
    batchCount: () => 1,
    batches: async function* () {
      yield batch;
    },
  };
  const args = { maxSteps: 1, learningRate: 1e-3, saveStrategy: "no", weightDecay: 0.1 };
  await new Trainer({ model, args, trainLoader, output: "silent" }).train();
}
savePretrained(model, output, { maxShardSize: values.shards });

const logits = scope(() => model.forward({ inputIds: tensor(ids, { shape: [2, length] }) }).logits.toFloat32Array());
writeFileSync(join(output, "compare.json"), JSON.stringify({ input_ids: [...ids], rows: 2, logits: [...logits] }));
