/** The settings of GPT-2 and of its descendants with learned positions, which keep GPT-2's names of them. */
import { z } from "zod";

import { ACTIVATION_NAMES, type ActivationName } from "../layers/activations.ts";
import { parseHeads } from "./attention-heads.ts";
import { type CausalLMConfig, parseCommon } from "./causal-lm-config.ts";
import type { ConfigSource } from "./config-source.ts";
import { commonFields, dropoutRate, layerCount, positive, size } from "./fields.ts";

export interface Gpt2LikeConfig extends CausalLMConfig {
  readonly innerSize: number;
  readonly activation: ActivationName;
  readonly layerNormEps: number;
  /** Probabilities of dropping, in training: a value of the embeddings, an attention weight, a value of what a branch adds. */
  readonly embeddingDropout: number;
  readonly attentionDropout: number;
  readonly residualDropout: number;
  /** Whether scores are divided by √headDim. */
  readonly scalesScores: boolean;
}

type Ignored = z.ZodOptional<z.ZodUnknown>;

/** Keys that both read, and those of sentence summaries and serving, which say nothing about a language model. */
export const gpt2Fields: typeof commonFields & {
  readonly n_embd: z.ZodNumber;
  readonly n_head: z.ZodNumber;
  readonly n_layer: z.ZodNumber;
  readonly n_positions: z.ZodNumber;
  readonly n_inner: z.ZodOptional<z.ZodNullable<z.ZodNumber>>;
  readonly layer_norm_epsilon: z.ZodDefault<z.ZodNumber>;
  readonly embd_pdrop: z.ZodDefault<z.ZodNumber>;
  readonly attn_pdrop: z.ZodDefault<z.ZodNumber>;
  readonly resid_pdrop: z.ZodDefault<z.ZodNumber>;
  readonly scale_attn_weights: z.ZodDefault<z.ZodBoolean>;
  readonly n_ctx: Ignored;
  readonly summary_activation: Ignored;
  readonly summary_first_dropout: Ignored;
  readonly summary_proj_to_labels: Ignored;
  readonly summary_type: Ignored;
  readonly summary_use_proj: Ignored;
} = {
  ...commonFields,
  n_embd: size,
  n_head: size,
  n_layer: layerCount,
  n_positions: size,
  n_inner: size.nullable().optional(),
  layer_norm_epsilon: positive.default(1e-5),
  embd_pdrop: dropoutRate.default(0.1),
  attn_pdrop: dropoutRate.default(0.1),
  resid_pdrop: dropoutRate.default(0.1),
  scale_attn_weights: z.boolean().default(true),
  n_ctx: z.unknown().optional(),
  summary_activation: z.unknown().optional(),
  summary_first_dropout: z.unknown().optional(),
  summary_proj_to_labels: z.unknown().optional(),
  summary_type: z.unknown().optional(),
  summary_use_proj: z.unknown().optional(),
};

/** `activation_function`, with the architecture's own default. */
export function activationField(otherwise: ActivationName): z.ZodDefault<z.ZodType<ActivationName>> {
  const names: z.ZodType<ActivationName> = z.enum(ACTIVATION_NAMES);
  return names.default(otherwise);
}

type Gpt2Keys = z.output<z.ZodObject<typeof gpt2Fields>> & { readonly activation_function: ActivationName };

/** Everything of a Gpt2LikeConfig but its name. */
export function parseGpt2Like(
  source: ConfigSource,
  fields: Gpt2Keys,
  keyValueHeads: number = fields.n_head,
): Omit<Gpt2LikeConfig, "modelType" | "architecture"> {
  return {
    ...parseCommon(source, fields),
    ...parseHeads(source, {
      hidden_size: fields.n_embd,
      num_attention_heads: fields.n_head,
      num_key_value_heads: keyValueHeads,
    }),
    hiddenSize: fields.n_embd,
    innerSize: fields.n_inner ?? 4 * fields.n_embd,
    numHiddenLayers: fields.n_layer,
    maxPositionEmbeddings: fields.n_positions,
    activation: fields.activation_function,
    layerNormEps: fields.layer_norm_epsilon,
    embeddingDropout: fields.embd_pdrop,
    attentionDropout: fields.attn_pdrop,
    residualDropout: fields.resid_pdrop,
    scalesScores: fields.scale_attn_weights,
    tieWordEmbeddings: fields.tie_word_embeddings ?? true,
    paddingIdx: undefined,
    rope: undefined,
  };
}
