import type { CausalLMConfig } from "./causal-lm-config.ts";
import { type ConfigSource, configError } from "./config-source.ts";

type Heads = Pick<CausalLMConfig, "numAttentionHeads" | "numKeyValueHeads" | "headDim">;

/**
 * How many heads there are and how wide they are. Files that are older than grouped-query attention have as many key/value heads
 * as query heads, and without `head_dim` the heads share the hidden size evenly.
 */
export function parseHeads(
  source: ConfigSource,
  fields: {
    readonly hidden_size: number;
    readonly num_attention_heads: number;
    readonly num_key_value_heads?: number | null | undefined;
    readonly head_dim?: number | null | undefined;
  },
): Heads {
  const { hidden_size: hidden, num_attention_heads: heads } = fields;
  const keyValueHeads = fields.num_key_value_heads ?? heads;
  if (fields.head_dim == null && hidden % heads !== 0) {
    throw configError(
      source,
      ["hidden_size"],
      `expected a multiple of num_attention_heads (${heads}), found ${hidden}`,
    );
  }
  if (heads % keyValueHeads !== 0) {
    throw configError(
      source,
      ["num_key_value_heads"],
      `expected a divisor of num_attention_heads (${heads}), found ${keyValueHeads}`,
    );
  }
  return { numAttentionHeads: heads, numKeyValueHeads: keyValueHeads, headDim: fields.head_dim ?? hidden / heads };
}

/** Rotary embeddings pair the dimensions of a head. */
export function requireEvenHeads(source: ConfigSource, headDim: number): void {
  if (headDim % 2 !== 0) {
    throw configError(source, ["head_dim"], `rotary embeddings need an even number, found ${headDim}`);
  }
}
