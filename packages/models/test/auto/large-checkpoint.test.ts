import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";

import { temporaryDirectory } from "@fms-accel/test-utilities";
import { expect, it } from "vitest";

import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";

/** Llama-3.2-1B's shape: 2.5 GB in bfloat16. */
const CONFIG = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 128_256,
  hidden_size: 2048,
  intermediate_size: 8192,
  num_hidden_layers: 16,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  head_dim: 64,
  hidden_act: "silu",
  max_position_embeddings: 131_072,
  rms_norm_eps: 1e-5,
  rope_theta: 500_000,
  tie_word_embeddings: true,
  torch_dtype: "bfloat16",
};

/** A checkpoint of zeros, as a file with holes: it takes no space on the disk. */
function writeEmptyCheckpoint(directory: string): number {
  const { hidden_size: hidden, intermediate_size: intermediate, vocab_size: vocab } = CONFIG;
  const shapes: [string, number[]][] = [["model.embed_tokens.weight", [vocab, hidden]]];
  for (let layer = 0; layer < CONFIG.num_hidden_layers; layer++) {
    const prefix = `model.layers.${layer}`;
    shapes.push([`${prefix}.self_attn.q_proj.weight`, [hidden, hidden]]);
    shapes.push([`${prefix}.self_attn.k_proj.weight`, [512, hidden]]);
    shapes.push([`${prefix}.self_attn.v_proj.weight`, [512, hidden]]);
    shapes.push([`${prefix}.self_attn.o_proj.weight`, [hidden, hidden]]);
    shapes.push([`${prefix}.mlp.gate_proj.weight`, [intermediate, hidden]]);
    shapes.push([`${prefix}.mlp.up_proj.weight`, [intermediate, hidden]]);
    shapes.push([`${prefix}.mlp.down_proj.weight`, [hidden, intermediate]]);
    shapes.push([`${prefix}.input_layernorm.weight`, [hidden]]);
    shapes.push([`${prefix}.post_attention_layernorm.weight`, [hidden]]);
  }
  shapes.push(["model.norm.weight", [hidden]]);
  let end = 0;
  const header = Object.fromEntries(
    shapes.map(([name, shape]) => {
      const begin = end;
      end += 2 * shape.reduce((product, size) => product * size, 1);
      return [name, { dtype: "BF16", shape, data_offsets: [begin, end] }];
    }),
  );
  const text = JSON.stringify(header);
  const json = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.byteLength));
  const file = openSync(join(directory, "model.safetensors"), "w");
  writeSync(file, length);
  writeSync(file, json);
  ftruncateSync(file, 8 + json.byteLength + end);
  closeSync(file);
  writeFileSync(join(directory, "config.json"), JSON.stringify(CONFIG));
  return end;
}

/** MiB of memory that only this process has, without the pages of mapped files. */
function anonymousMemory(): number {
  const [, kilobytes] = /RssAnon:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return Number(kilobytes) / 1024;
}

it.runIf(process.platform === "linux")(
  "opens a checkpoint of 2.5 GB in less than a second, without a copy",
  async () => {
    const directory = temporaryDirectory();
    expect(writeEmptyCheckpoint(directory)).toBeGreaterThan(2.4e9);
    const before = anonymousMemory();
    const started = performance.now();
    const model = await AutoModelForCausalLM.fromPretrained(directory);
    expect(performance.now() - started).toBeLessThan(1000);
    // Reading a weight brings in pages of the file, and the reading of a row no copy of the rest.
    expect(
      model
        .stateDict()
        .get("model.norm.weight")!
        .toFloat32Array()
        .every((value) => value === 0),
    ).toBe(true);
    expect(anonymousMemory() - before).toBeLessThan(100);
    model.dispose();
  },
);
