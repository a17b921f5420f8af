// Puts adapters of many kinds into a model, moves them away from their initial values, saves them, and writes the logits that this
// project computes with each.
//
//   node scripts/compare/save-adapter.mjs MODEL_DIRECTORY OUTPUT
//
// Used by compare_adapter.py. Needs a build (npm run build).
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "../../packages/models/dist/index.js";
import { add, Generator, mul, randn, scope, tensor } from "../../packages/tensor/dist/index.js";

const KINDS = {
  plain: { r: 4, loraAlpha: 8, targetModules: ["q_proj", "v_proj"] },
  "all-linear": { r: 3, loraAlpha: 7, targetModules: "all-linear", excludeModules: ["down_proj"] },
  expression: { r: 4, targetModules: ".*layers\\.(?P<layer>0|1)\\..*(q|up)_proj" },
  layers: { r: 4, targetModules: ["o_proj"], layersToTransform: 0, layersPattern: ["layers"] },
  patterns: {
    r: 4,
    targetModules: ["k_proj", "gate_proj"],
    rankPattern: { "layers.1.*k_proj": 2 },
    alphaPattern: { gate_proj: 3 },
  },
  rslora: { r: 8, useRslora: true, targetModules: ["o_proj"], loraDropout: 0.00001 },
  dora: { r: 4, useDora: true, targetModules: ["q_proj", "up_proj"] },
  "dora-rslora": { r: 4, useDora: true, useRslora: true, targetModules: ["down_proj"] },
  "bias-all": { r: 2, bias: "all", targetModules: ["q_proj"] },
  "bias-lora_only": { r: 2, bias: "lora_only", targetModules: ["q_proj", "up_proj"] },
  head: { r: 2, targetModules: ["q_proj"], modulesToSave: ["lm_head"] },
  embeddings: { r: 2, targetModules: ["q_proj"], modulesToSave: ["embed_tokens", "norm"] },
  "head-adapted": { r: 2, targetModules: ["lm_head", "v_proj"] },
  uniform: { r: 4, initLoraWeights: false, targetModules: ["v_proj"] },
};

const [source, output] = process.argv.slice(2);
const length = 15;
for (const [kind, options] of Object.entries(KINDS)) {
  const base = await AutoModelForCausalLM.fromPretrained(source, { dtype: "float32" });
  const generator = new Generator(11);
  const config = new LoraConfig({ ...options, baseModelNameOrPath: source });
  const model = getPeftModel(base, config, { generator, onWarning: () => {} });
  for (const parameter of model.adapterStateDict().values()) {
    scope(() => parameter.copyFrom(add(parameter, mul(randn(parameter.shape, { generator }), 0.1)).detach()));
  }
  const directory = join(output, kind);
  mkdirSync(directory, { recursive: true });
  model.savePretrained(directory);
  const ids = Int32Array.from({ length: 2 * length }, (_, i) => (i * 37 + 11) % model.config.vocabSize);
  const logits = scope(() => model.forward({ inputIds: tensor(ids, { shape: [2, length] }) }).logits.toFloat32Array());
  writeFileSync(join(directory, "compare.json"), JSON.stringify({ input_ids: [...ids], rows: 2, logits: [...logits] }));
}
