// Trains the demo's base model from scratch with `fms-accel train --model_config` and puts it into examples/tiny-world/model.
//
//   npm run build && npm run build:native && node scripts/demo/train-base-model.mjs [--documents 100000] [--epochs 1]
//
// Everything comes from the generators beside this file. Work files go to out/demo.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { AutoTokenizer } from "../../packages/models/dist/index.js";
import { ROOT } from "../prepare.mjs";
import { makeCorpus } from "./make-corpus.mjs";

const MODEL = join(ROOT, "examples", "tiny-world", "model");
const WORK = join(ROOT, "out", "demo");
/** Tokens of a training sample: several texts of the corpus one after the other. */
const BLOCK = 192;

const CONFIG = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 960,
  hidden_size: 128,
  intermediate_size: 384,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
  hidden_act: "silu",
  max_position_embeddings: 256,
  initializer_range: 0.05,
  rms_norm_eps: 1e-5,
  rope_theta: 10000.0,
  attention_bias: false,
  mlp_bias: false,
  tie_word_embeddings: true,
  bos_token_id: 1,
  eos_token_id: 2,
  pad_token_id: 0,
  torch_dtype: "float32",
};

const { values } = parseArgs({
  options: {
    documents: { type: "string", default: "100000" },
    epochs: { type: "string", default: "1" },
    batch: { type: "string", default: "8" },
    "learning-rate": { type: "string", default: "3e-3" },
  },
});

function run(script, scriptArguments) {
  const { status } = spawnSync(process.execPath, [join(ROOT, script), ...scriptArguments], {
    cwd: ROOT,
    stdio: "inherit",
  });
  if (status !== 0) process.exit(status ?? 1);
}
const fmsAccel = (...commandArguments) => run("packages/framework/bin/fms-accel.js", commandArguments);

/** Texts as `<s> … </s>` one after the other, cut into blocks; the rest that fills no block is left out. */
async function writeBlocks(tokenizer, texts, file) {
  const stream = [];
  for (let first = 0; first < texts.length; first += 1000) {
    const encodings = await tokenizer.encodeBatch(texts.slice(first, first + 1000));
    for (const { ids } of encodings) stream.push(...ids, CONFIG.eos_token_id);
  }
  const count = Math.floor(stream.length / BLOCK);
  const lines = Array.from({ length: count }, (_, at) =>
    JSON.stringify({ input_ids: stream.slice(at * BLOCK, (at + 1) * BLOCK) }),
  );
  writeFileSync(file, `${lines.join("\n")}\n`);
  console.log(`${texts.length} texts, ${stream.length} tokens, ${count} blocks of ${BLOCK} in ${file}`);
}

mkdirSync(WORK, { recursive: true });
run("scripts/demo/make-instructions.mjs", []);
run("scripts/demo/make-tokenizer.mjs", []);
const tokenizer = await AutoTokenizer.fromPretrained(MODEL);
await writeBlocks(tokenizer, makeCorpus(Number(values.documents), 1), join(WORK, "train.jsonl"));
await writeBlocks(tokenizer, makeCorpus(500, 3), join(WORK, "held-out.jsonl"));
writeFileSync(join(WORK, "config.json"), `${JSON.stringify(CONFIG, null, 2)}\n`);

const output = join(WORK, "base");
const converted = join(WORK, "bfloat16");
for (const folder of [output, converted]) rmSync(folder, { recursive: true, force: true });
const settings = {
  model_config: join(WORK, "config.json"),
  tokenizer_name_or_path: MODEL,
  training_data_path: join(WORK, "train.jsonl"),
  validation_data_path: join(WORK, "held-out.jsonl"),
  output_dir: output,
  torch_dtype: "float32",
  per_device_train_batch_size: values.batch,
  num_train_epochs: values.epochs,
  learning_rate: values["learning-rate"],
  lr_scheduler_type: "cosine",
  warmup_ratio: "0.03",
  weight_decay: "0.1",
  adam_beta2: "0.98",
  logging_steps: "50",
  eval_strategy: "epoch",
  save_strategy: "no",
  seed: "1",
};
fmsAccel("train", ...Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]));
// Half the bytes in the repository; the weights are trained in float32.
fmsAccel("merge", output, "--output_dir", converted, "--torch_dtype", "bfloat16");
for (const file of ["config.json", "generation_config.json", "model.safetensors"]) {
  copyFileSync(join(converted, file), join(MODEL, file));
}
const bytes = readFileSync(join(MODEL, "model.safetensors")).length;
console.log(`model.safetensors: ${(bytes / 1e6).toFixed(2)} MB`);
