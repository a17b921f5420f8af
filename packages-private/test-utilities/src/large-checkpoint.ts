import { closeSync, ftruncateSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";

/** Keys of a Llama's config.json that give its tensors their shapes; embedding and head are one. */
export interface LlamaSizes {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
}

/** What a large checkpoint is made of. */
export interface LargeCheckpoint {
  readonly sizes: LlamaSizes;
  readonly dtype: "float32" | "bfloat16";
  /** "holes": zeros that take no space on the disk. "waves": small values, a megabyte of them again and again. */
  readonly values: "holes" | "waves";
}

/** Writes a Llama of any size without ever holding it. @returns bytes of its tensors */
export function writeLargeCheckpoint(directory: string, { sizes, dtype, values }: LargeCheckpoint): number {
  const itemSize = dtype === "float32" ? 4 : 2;
  let end = 0;
  const header = Object.fromEntries(
    shapesOf(sizes).map(([name, shape]) => {
      const begin = end;
      end += itemSize * shape.reduce((product, size) => product * size, 1);
      return [name, { dtype: dtype === "float32" ? "F32" : "BF16", shape, data_offsets: [begin, end] }];
    }),
  );
  const text = JSON.stringify(header);
  const json = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.byteLength));
  const file = openSync(join(directory, "model.safetensors"), "w");
  writeSync(file, length);
  writeSync(file, json);
  if (values === "waves") {
    const block = waves(dtype);
    for (let at = 0; at < end; at += block.byteLength) {
      writeSync(file, block, 0, Math.min(block.byteLength, end - at));
    }
  }
  ftruncateSync(file, 8 + json.byteLength + end);
  closeSync(file);
  const config = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_act: "silu",
    max_position_embeddings: 131_072,
    rms_norm_eps: 1e-5,
    rope_theta: 500_000,
    tie_word_embeddings: true,
    torch_dtype: dtype,
    ...sizes,
  };
  writeFileSync(join(directory, "config.json"), JSON.stringify(config));
  return end;
}

function shapesOf(sizes: LlamaSizes): [string, number[]][] {
  const { vocab_size: vocab, hidden_size: hidden, intermediate_size: intermediate, head_dim: width } = sizes;
  const [queries, keys] = [sizes.num_attention_heads * width, sizes.num_key_value_heads * width];
  const layers = Array.from({ length: sizes.num_hidden_layers }, (_, layer): [string, number[]][] => [
    [`model.layers.${layer}.self_attn.q_proj.weight`, [queries, hidden]],
    [`model.layers.${layer}.self_attn.k_proj.weight`, [keys, hidden]],
    [`model.layers.${layer}.self_attn.v_proj.weight`, [keys, hidden]],
    [`model.layers.${layer}.self_attn.o_proj.weight`, [hidden, queries]],
    [`model.layers.${layer}.mlp.gate_proj.weight`, [intermediate, hidden]],
    [`model.layers.${layer}.mlp.up_proj.weight`, [intermediate, hidden]],
    [`model.layers.${layer}.mlp.down_proj.weight`, [hidden, intermediate]],
    [`model.layers.${layer}.input_layernorm.weight`, [hidden]],
    [`model.layers.${layer}.post_attention_layernorm.weight`, [hidden]],
  ]);
  return [["model.embed_tokens.weight", [vocab, hidden]], ...layers.flat(), ["model.norm.weight", [hidden]]];
}

function waves(dtype: "float32" | "bfloat16"): Uint8Array {
  const floats = Float32Array.from({ length: 2 ** 18 }, (_, i) => 0.02 * Math.sin(i * i * 0.37));
  if (dtype === "float32") return new Uint8Array(floats.buffer);
  // The upper halves: bfloat16 is float32 cut short.
  const halves = new Uint16Array(floats.buffer).filter((_, i) => i % 2 === 1);
  return new Uint8Array(halves.buffer);
}
