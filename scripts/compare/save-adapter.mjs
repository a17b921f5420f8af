// Puts adapters of many kinds into a model, moves them away from their initial values, saves them, and writes the logits that this
// project computes with each.
//
//   node scripts/compare/save-adapter.mjs MODEL_DIRECTORY OUTPUT
//
// Used by compare_adapter.py. Needs a build (npm run build).
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import {
  AutoModelForCausalLM,
  getPeftModel,
  LoraConfig,
  PromptTuningConfig,
  PromptTuningModel,
} from "../../packages/models/dist/index.js";
import { add, Generator, mul, randn, scope, tensor } from "../../packages/tensor/dist/index.js";

/** What architectures call the layers that adapters are put on. */
const LLAMA = {
  one: "q_proj",
  two: "v_proj",
  out: "o_proj",
  up: "up_proj",
  down: "down_proj",
  embedding: "embed_tokens",
  head: "lm_head",
  norm: "norm",
  layers: "layers",
};
const GPT2 = {
  one: "attn.c_attn",
  two: "mlp.c_fc",
  out: "attn.c_proj",
  up: "mlp.c_fc",
  down: "mlp.c_proj",
  embedding: "wte",
  head: "lm_head",
  norm: "ln_f",
  layers: "h",
};
const NAMES = {
  gpt2: GPT2,
  gpt_bigcode: GPT2,
  gpt_neox: {
    one: "query_key_value",
    two: "dense_h_to_4h",
    out: "attention.dense",
    up: "dense_h_to_4h",
    down: "dense_4h_to_h",
    embedding: "embed_in",
    head: "embed_out",
    norm: "final_layer_norm",
    layers: "layers",
  },
  phi3: { ...LLAMA, one: "qkv_proj", two: "gate_up_proj", up: "gate_up_proj" },
  starcoder2: { ...LLAMA, up: "c_fc", down: "c_proj" },
  // What transformers 5 keeps in fused parameters has kinds of its own below.
  mixtral: { ...LLAMA, up: "k_proj", down: "o_proj" },
  granitemoe: { ...LLAMA, up: "k_proj", down: "o_proj" },
  granitemoeshared: { ...LLAMA, up: "shared_mlp.input_linear", down: "shared_mlp.output_linear" },
  qwen3_moe: { ...LLAMA, up: "k_proj", down: "o_proj" },
};

function kindsOf(modelType, tied) {
  const { one, two, out, up, down, embedding, head, norm, layers } = NAMES[modelType] ?? LLAMA;
  const expression = [one, up].map((name) => name.replaceAll(".", "\\.")).join("|");
  const experts = ["mixtral", "granitemoe", "granitemoeshared", "qwen3_moe"].includes(modelType);
  const router = modelType.startsWith("granite") ? "router.weight" : "gate.weight";
  const names = modelType === "mixtral" ? ["w1", "w3", "w2"] : ["gate_proj", "up_proj", "down_proj"];
  return {
    plain: { r: 4, loraAlpha: 8, targetModules: [one, two] },
    // PEFT on transformers 5 has no linear layers where the experts are, and saves another list.
    ...(experts ? {} : { "all-linear": { r: 3, loraAlpha: 7, targetModules: "all-linear", excludeModules: [down] } }),
    ...(experts && modelType !== "qwen3_moe"
      ? {}
      : { expression: { r: 4, targetModules: `.*${layers}\\.(?P<layer>0|1)\\..*(${expression})` } }),
    layers: { r: 4, targetModules: [out], layersToTransform: 0, layersPattern: [layers] },
    patterns: {
      r: 4,
      targetModules: [two, up],
      rankPattern: { [`${layers}.1.*${two.split(".").at(-1)}`]: 2 },
      alphaPattern: { [up]: 3 },
    },
    rslora: { r: 8, useRslora: true, targetModules: [out], loraDropout: 0.00001 },
    dora: { r: 4, useDora: true, targetModules: [one, up] },
    "dora-rslora": { r: 4, useDora: true, useRslora: true, targetModules: [down] },
    "bias-all": { r: 2, bias: "all", targetModules: [one] },
    "bias-lora_only": { r: 2, bias: "lora_only", targetModules: [one, up] },
    head: { r: 2, targetModules: [one], modulesToSave: [head] },
    embeddings: { r: 2, targetModules: [one], modulesToSave: [embedding, norm] },
    "head-adapted": { r: 2, targetModules: [head, two] },
    "embedding-adapted": { r: 3, loraAlpha: 5, targetModules: [embedding, two] },
    "embedding-dora": { r: 3, loraAlpha: 5, useDora: true, targetModules: [embedding] },
    uniform: { r: 4, initLoraWeights: false, targetModules: [two] },
    ...(tied ? { tied: { r: 3, targetModules: [head, one], ensureWeightTying: true } } : {}),
    ...(experts
      ? {
          "fused-experts": {
            r: 3,
            loraAlpha: 5,
            targetModules: [one],
            targetParameters: ["experts.gate_up_proj", "experts.down_proj", router],
            rankPattern: { "experts.gate_up_proj": 4 },
          },
          "fused-down": { r: 2, useRslora: true, targetModules: [out], targetParameters: ["experts.down_proj"] },
        }
      : {}),
    // The layout of transformers 4, which PEFT converts when it opens it.
    ...(modelType === "mixtral" || modelType === "qwen3_moe"
      ? { "single-experts": { r: 3, loraAlpha: 5, targetModules: [one, "gate", ...names] } }
      : {}),
  };
}

const [source, output] = process.argv.slice(2);
const length = 15;
const open = () => AutoModelForCausalLM.fromPretrained(source, { dtype: "float32", onWarning: () => {} });
const quiet = () => {};

async function make(options) {
  const generator = new Generator(11);
  if (options instanceof PromptTuningConfig) return PromptTuningModel.create(await open(), options, { generator });
  const config = new LoraConfig({ ...options, baseModelNameOrPath: source });
  return getPeftModel(await open(), config, { generator, onWarning: quiet });
}

const { modelType, tieWordEmbeddings } = (await open()).config;
const kinds = {
  ...kindsOf(modelType, tieWordEmbeddings),
  "prompt-tuning": new PromptTuningConfig({ numVirtualTokens: 5, baseModelNameOrPath: source }),
};
for (const [kind, options] of Object.entries(kinds)) {
  const model = (await make(options)).eval();
  const generator = new Generator(12);
  for (const parameter of model.parameters()) {
    if (parameter.requiresGrad) {
      scope(() => parameter.copyFrom(add(parameter, mul(randn(parameter.shape, { generator }), 0.1)).detach()));
    }
  }
  const directory = join(output, kind);
  mkdirSync(directory, { recursive: true });
  model.savePretrained(directory);
  const ids = Int32Array.from({ length: 2 * length }, (_, i) => (i * 37 + 11) % model.config.vocabSize);
  const logits = scope(() => model.forward({ inputIds: tensor(ids, { shape: [2, length] }) }).logits.toFloat32Array());
  writeFileSync(join(directory, "compare.json"), JSON.stringify({ input_ids: [...ids], rows: 2, logits: [...logits] }));
}
