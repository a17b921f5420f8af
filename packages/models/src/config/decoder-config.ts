/** The settings that decoders with rotary positions have in common: keys, checks and defaults. */
import { z } from "zod";

import type { RopeParameters } from "../rope/rope-parameters.ts";
import { parseHeads, requireEvenHeads } from "./attention-heads.ts";
import { type CausalLMConfig, parseCommon, parsePaddingIdx } from "./causal-lm-config.ts";
import { type ConfigSource, configError } from "./config-source.ts";
import { commonFields, dropoutRate, layerCount, size } from "./fields.ts";
import { parseRope, ropeFields } from "./rope-fields.ts";

/** Configuration of a decoder whose queries and keys are rotated by position. */
export interface DecoderConfig extends CausalLMConfig {
  readonly intermediateSize: number;
  /** Probability of dropping an attention weight in training. */
  readonly attentionDropout: number;
  readonly rope: RopeParameters;
  /** Dimensions of a head that are rotated, from the first on. */
  readonly rotaryDim: number;
}

type OptionalNumber = z.ZodOptional<z.ZodNullable<z.ZodNumber>>;

/** Keys that all of them read. */
export const decoderFields: typeof commonFields &
  typeof ropeFields & {
    readonly hidden_size: z.ZodNumber;
    readonly intermediate_size: z.ZodNumber;
    readonly num_hidden_layers: z.ZodNumber;
    readonly num_attention_heads: z.ZodNumber;
    readonly num_key_value_heads: OptionalNumber;
    readonly head_dim: OptionalNumber;
    readonly max_position_embeddings: z.ZodNumber;
    readonly attention_dropout: z.ZodDefault<z.ZodNullable<z.ZodNumber>>;
  } = {
  ...commonFields,
  ...ropeFields,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: layerCount,
  num_attention_heads: size,
  num_key_value_heads: size.nullable().optional(),
  head_dim: size.nullable().optional(),
  max_position_embeddings: size,
  attention_dropout: dropoutRate.nullable().default(0),
};

type DecoderKeys = z.output<z.ZodObject<typeof decoderFields>>;

export interface DecoderDefaults {
  /** What the architecture takes for `rope_theta` when the file does not say. */
  readonly theta: number;
  /** What it takes for `tie_word_embeddings` when the file does not say. */
  readonly tied: boolean;
  /** Part of a head that is rotated; default all of it. */
  readonly partialRotaryFactor?: number | undefined;
}

/** Everything of a DecoderConfig but its name. */
export function parseDecoder(
  source: ConfigSource,
  fields: DecoderKeys,
  { theta, tied, partialRotaryFactor = 1 }: DecoderDefaults,
): Omit<DecoderConfig, "modelType" | "architecture"> {
  const heads = parseHeads(source, fields);
  const rotaryDim = Math.floor(heads.headDim * partialRotaryFactor);
  if (partialRotaryFactor === 1) {
    requireEvenHeads(source, heads.headDim);
  } else if (rotaryDim < 2 || rotaryDim % 2 !== 0) {
    throw configError(
      source,
      ["partial_rotary_factor"],
      `rotary embeddings need an even number of dimensions, found ${rotaryDim} (${partialRotaryFactor} of ${heads.headDim})`,
    );
  }
  return {
    ...parseCommon(source, fields),
    ...heads,
    hiddenSize: fields.hidden_size,
    intermediateSize: fields.intermediate_size,
    numHiddenLayers: fields.num_hidden_layers,
    maxPositionEmbeddings: fields.max_position_embeddings,
    attentionDropout: fields.attention_dropout ?? 0,
    tieWordEmbeddings: fields.tie_word_embeddings ?? tied,
    paddingIdx: parsePaddingIdx(source, fields.pad_token_id, fields.vocab_size),
    rotaryDim,
    rope: parseRope(source, fields, {
      maxPositionEmbeddings: fields.max_position_embeddings,
      rotaryDim,
      defaultTheta: theta,
    }),
  };
}
