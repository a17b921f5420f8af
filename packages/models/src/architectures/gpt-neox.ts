/** GPT-NeoX (https://arxiv.org/abs/2204.06745), Pythia: attention and MLP side by side on one residual, part of each head rotated. */
import { add, Dropout, Embedding, LayerNorm, Linear, Module, split, type Tensor } from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, configError, parseWith } from "../config/config-source.ts";
import { type DecoderConfig, decoderFields, parseDecoder } from "../config/decoder-config.ts";
import { dropoutRate, positive } from "../config/fields.ts";
import { checkUnreadKeys } from "../config/inert-keys.ts";
import { parsePartialRotaryFactor } from "../config/partial-rotary-factor.ts";
import { type Activation, activation, ACTIVATION_NAMES, type ActivationName } from "../layers/activations.ts";
import { attendHeads, splitHeads } from "../layers/attend-heads.ts";
import { causalLMOutput } from "../layers/language-model-head.ts";
import { sequenceLayout } from "../layers/sequence-layout.ts";
import { Backbone } from "../modeling/backbone.ts";
import { CausalLM, type CausalLMInputs, type CausalLMOutput, type TiedWeight } from "../modeling/causal-lm.ts";
import { type LayerContext, runLayers } from "../modeling/run-layers.ts";
import { applyPartialRotary } from "../rope/apply-partial-rotary.ts";
import { equivalentLength } from "../rope/frequencies.ts";
import { RotaryEmbedding } from "../rope/rotary-embedding.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";

export interface GPTNeoXConfig extends DecoderConfig {
  readonly hiddenAct: ActivationName;
  readonly layerNormEps: number;
  readonly attentionBias: boolean;
  /** Probability of dropping a value of the embeddings and of what a branch adds, in training. */
  readonly hiddenDropout: number;
  /** Whether attention and MLP read the same hidden states, or the MLP those after attention. */
  readonly parallelResidual: boolean;
}

const configFields = z.object({
  ...decoderFields,
  num_key_value_heads: z.null().optional(),
  head_dim: z.null().optional(),
  hidden_act: z.enum(ACTIVATION_NAMES).default("gelu"),
  layer_norm_eps: positive.default(1e-5),
  attention_bias: z.boolean().default(true),
  hidden_dropout: dropoutRate.default(0),
  /** Of token classification alone. */
  classifier_dropout: z.unknown().optional(),
  use_parallel_residual: z.boolean().default(true),
  partial_rotary_factor: positive.max(1).nullable().optional(),
  /** The first names of partial_rotary_factor and rope_theta. */
  rotary_pct: positive.max(1).nullable().optional(),
  rotary_emb_base: positive.nullable().optional(),
});

export function parseGPTNeoXConfig(source: ConfigSource): GPTNeoXConfig {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  const renamed = {
    ...fields,
    rope_theta: oneOf(source, fields, "rotary_emb_base", "rope_theta"),
    partial_rotary_factor: oneOf(source, fields, "rotary_pct", "partial_rotary_factor"),
  };
  return {
    modelType: "gpt_neox",
    architecture: "GPTNeoXForCausalLM",
    ...parseDecoder(source, renamed, {
      theta: 10_000,
      tied: false,
      partialRotaryFactor: parsePartialRotaryFactor(source, renamed, 0.25),
    }),
    paddingIdx: undefined,
    hiddenAct: fields.hidden_act,
    layerNormEps: fields.layer_norm_eps,
    attentionBias: fields.attention_bias,
    hiddenDropout: fields.hidden_dropout,
    parallelResidual: fields.use_parallel_residual,
  };
}

type OldName = "rotary_emb_base" | "rotary_pct";
type NewName = "rope_theta" | "partial_rotary_factor";

/** A setting with two names, which must agree where both are given. */
function oneOf(
  source: ConfigSource,
  fields: z.output<typeof configFields>,
  old: OldName,
  current: NewName,
): number | undefined {
  const [first, second] = [fields[old] ?? undefined, fields[current] ?? undefined];
  if (first !== undefined && second !== undefined && first !== second) {
    throw configError(source, [old], `contradicts ${current} (${second}), found ${first}`);
  }
  return second ?? first;
}

export class GPTNeoXAttention extends Module {
  query_key_value: Linear;
  dense: Linear;
  readonly headDim: number;
  readonly dropout: number;
  readonly layerIndex: number;

  constructor(config: GPTNeoXConfig, layerIndex: number, options: ModelOptions) {
    super();
    const linear = { ...options, bias: config.attentionBias };
    this.query_key_value = new Linear(config.hiddenSize, 3 * config.hiddenSize, linear);
    this.dense = new Linear(config.hiddenSize, config.hiddenSize, linear);
    this.headDim = config.headDim;
    this.dropout = config.attentionDropout;
    this.layerIndex = layerIndex;
  }

  /** @param x `[B, T, hidden]` */
  forward(x: Tensor, context: LayerContext): Tensor {
    // Query, key and value of each head stand side by side.
    const heads = splitHeads(this.query_key_value.forward(x), 3 * this.headDim);
    const [queries, keys, values] = split(heads, this.headDim, -1) as [Tensor, Tensor, Tensor];
    const { q, k } = applyPartialRotary(queries, keys, context.phases.cos, context.phases.sin);
    const attended = attendHeads(q, k, values, context, {
      layerIndex: this.layerIndex,
      scale: this.headDim ** -0.5,
      dropout: this.training ? this.dropout : 0,
    });
    return this.dense.forward(attended);
  }
}

/** Two layers with an activation between. */
export class GPTNeoXMLP extends Module {
  dense_h_to_4h: Linear;
  dense_4h_to_h: Linear;
  readonly activation: Activation;

  constructor(config: GPTNeoXConfig, options: ModelOptions) {
    super();
    this.dense_h_to_4h = new Linear(config.hiddenSize, config.intermediateSize, options);
    this.dense_4h_to_h = new Linear(config.intermediateSize, config.hiddenSize, options);
    this.activation = activation(config.hiddenAct);
  }

  forward(x: Tensor): Tensor {
    return this.dense_4h_to_h.forward(this.activation(this.dense_h_to_4h.forward(x)));
  }
}

export class GPTNeoXLayer extends Module {
  input_layernorm: LayerNorm;
  post_attention_layernorm: LayerNorm;
  attention: GPTNeoXAttention;
  mlp: GPTNeoXMLP;
  readonly dropout: Dropout;
  readonly parallelResidual: boolean;

  constructor(config: GPTNeoXConfig, layerIndex: number, options: ModelOptions) {
    super();
    const norm = { ...options, eps: config.layerNormEps };
    this.input_layernorm = new LayerNorm(config.hiddenSize, norm);
    this.post_attention_layernorm = new LayerNorm(config.hiddenSize, norm);
    this.attention = new GPTNeoXAttention(config, layerIndex, options);
    this.mlp = new GPTNeoXMLP(config, options);
    this.dropout = new Dropout(config.hiddenDropout);
    this.parallelResidual = config.parallelResidual;
  }

  forward(x: Tensor, context: LayerContext): Tensor {
    const branch = this.dropout.forward(this.attention.forward(this.input_layernorm.forward(x), context));
    const attended = add(x, branch);
    const seen = this.parallelResidual ? x : attended;
    return add(this.dropout.forward(this.mlp.forward(this.post_attention_layernorm.forward(seen))), attended);
  }
}

/** The decoder without its head. */
export class GPTNeoXModel extends Backbone {
  embed_in: Embedding;
  layers: GPTNeoXLayer[];
  final_layer_norm: LayerNorm;
  readonly dropout: Dropout;
  readonly rotary: RotaryEmbedding;

  constructor(config: GPTNeoXConfig, options: ModelOptions) {
    super();
    this.embed_in = new Embedding(config.vocabSize, config.hiddenSize, options);
    this.layers = Array.from(
      { length: config.numHiddenLayers },
      (_, index) => new GPTNeoXLayer(config, index, options),
    );
    this.final_layer_norm = new LayerNorm(config.hiddenSize, { ...options, eps: config.layerNormEps });
    this.dropout = new Dropout(config.hiddenDropout);
    this.rotary = new RotaryEmbedding(config.rope, config.rotaryDim);
  }

  /** @returns hidden states after the last norm, `[B, T, hidden]` */
  override forward(inputs: CausalLMInputs, gradientCheckpointing: boolean): Tensor {
    const layout = sequenceLayout(inputs);
    const embedded = this.dropout.forward(this.embed_in.forward(inputs.inputIds));
    const context: LayerContext = {
      ...layout.context,
      phases: this.rotary.forward(layout.positions, embedded.dtype),
    };
    return this.final_layer_norm.forward(runLayers(this.layers, embedded, context, gradientCheckpointing));
  }
}

export class GPTNeoXForCausalLM extends CausalLM<GPTNeoXConfig> {
  gpt_neox: GPTNeoXModel;
  embed_out: Linear;

  constructor(config: GPTNeoXConfig, options: ModelOptions) {
    super(config);
    this.gpt_neox = new GPTNeoXModel(config, options);
    this.embed_out = new Linear(config.hiddenSize, config.vocabSize, { ...options, bias: false });
    if (config.tieWordEmbeddings) {
      this.embed_out.weight.dispose();
      this.embed_out.weight = this.gpt_neox.embed_in.weight;
    }
  }

  override forward(inputs: CausalLMInputs): CausalLMOutput {
    const hidden = this.gpt_neox.forward(inputs, this.gradientCheckpointing);
    return causalLMOutput(hidden, this.embed_out, this.config.vocabSize, inputs);
  }

  override equivalentLength(length: number): number {
    return equivalentLength(this.config.rope, length);
  }

  override tiedWeights(): readonly TiedWeight[] {
    return this.config.tieWordEmbeddings ? [["gpt_neox.embed_in.weight", "embed_out.weight"]] : [];
  }
}

export const gptNeoX: Architecture<GPTNeoXConfig> = {
  name: "GPTNeoXForCausalLM",
  modelType: "gpt_neox",
  parseConfig: parseGPTNeoXConfig,
  create: (config, options) => new GPTNeoXForCausalLM(config, options),
  ignoredTensors: [/\.attention\.(?:masked_)?bias$/, /\.rotary_emb\.inv_freq$/],
};
