import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { example, flags, output } from "./command.ts";

/** A Llama of a few thousand parameters with the example's tokenizer. */
const config = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 960,
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
  hidden_act: "silu",
  max_position_embeddings: 256,
  initializer_range: 0.05,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
  bos_token_id: 1,
  eos_token_id: 2,
  pad_token_id: 0,
};

export const trainingData: string = example("train.jsonl");
export const heldOutData: string = example("held-out.jsonl");

/** Trains a tiny base model from scratch into `folder/base` with the command itself. */
export async function trainTinyBase(folder: string): Promise<string> {
  const start = join(folder, "new");
  mkdirSync(start, { recursive: true });
  writeFileSync(join(start, "config.json"), JSON.stringify(config));
  for (const file of ["tokenizer.json", "tokenizer_config.json"])
    copyFileSync(example(`model/${file}`), join(start, file));
  const base = join(folder, "base");
  const settings = {
    model_config: join(start, "config.json"),
    training_data_path: trainingData,
    output_dir: base,
    torch_dtype: "float32",
    max_steps: 30,
    per_device_train_batch_size: 16,
    learning_rate: 0.01,
    save_strategy: "no",
  };
  await output(["train", ...flags(settings)]);
  return base;
}

/** Flags of a LoRA run on it. */
export function loraFlags(base: string, out: string, more: Parameters<typeof flags>[0] = {}): string[] {
  return flags({
    model_name_or_path: base,
    training_data_path: trainingData,
    output_dir: out,
    torch_dtype: "float32",
    peft_method: "lora",
    r: 4,
    lora_alpha: 8,
    target_modules: "all-linear",
    per_device_train_batch_size: 4,
    learning_rate: 0.01,
    save_strategy: "no",
    ...more,
  });
}
