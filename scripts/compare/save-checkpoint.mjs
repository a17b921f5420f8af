// Saves a checkpoint, opened from a directory or made from its config.json, and the logits that this project computes for it.
//
//   node scripts/compare/save-checkpoint.mjs MODEL_DIRECTORY OUTPUT [--fresh] [--shards 60KB]
//
// Used by compare_checkpoint.py. Needs a build (npm run build).
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { AutoModelForCausalLM, savePretrained } from "../../packages/models/dist/index.js";
import { scope, tensor } from "../../packages/tensor/dist/index.js";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { fresh: { type: "boolean", default: false }, shards: { type: "string" } },
});
const [source, output] = positionals;
const opened = await AutoModelForCausalLM.fromPretrained(source, { dtype: "float32" });
const model = values.fresh ? AutoModelForCausalLM.fromConfig(opened.config, { seed: 5, dtype: "float32" }) : opened;
savePretrained(model, output, { maxShardSize: values.shards });

const length = 15;
const ids = Int32Array.from({ length: 2 * length }, (_, i) => (i * 37 + 11) % model.config.vocabSize);
const logits = scope(() => model.forward({ inputIds: tensor(ids, { shape: [2, length] }) }).logits.toFloat32Array());
writeFileSync(join(output, "compare.json"), JSON.stringify({ input_ids: [...ids], rows: 2, logits: [...logits] }));
