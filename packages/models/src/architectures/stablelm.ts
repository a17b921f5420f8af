/**
 * StableLM (https://arxiv.org/abs/2402.17834, StableLM 3B and StableLM 2): LayerNorm, a quarter of each head rotated, a gated MLP; in the
 * 12B model norms on every head's queries and keys, and attention and MLP side by side on one norm.
 */
import { add, Dropout, LayerNorm, Linear, Module, stack, type Tensor, layerNorm } from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, configError, parseWith } from "../config/config-source.ts";
import { type DecoderConfig, decoderFields, parseDecoder } from "../config/decoder-config.ts";
import { dropoutRate, positive } from "../config/fields.ts";
import { checkUnreadKeys } from "../config/inert-keys.ts";
import { parsePartialRotaryFactor } from "../config/partial-rotary-factor.ts";
import { ACTIVATION_NAMES, type ActivationName } from "../layers/activations.ts";
import { attendHeads, splitHeads } from "../layers/attend-heads.ts";
import { GatedMLP } from "../layers/gated-mlp.ts";
import { Decoder, DecoderForCausalLM } from "../modeling/decoder.ts";
import type { LayerContext } from "../modeling/run-layers.ts";
import { applyPartialRotary } from "../rope/apply-partial-rotary.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";

export interface StableLmConfig extends DecoderConfig {
  readonly hiddenAct: ActivationName;
  readonly layerNormEps: number;
  readonly qkvBias: boolean;
  /** Whether every head has a norm of its own on its queries, or keys. */
  readonly qkLayernorm: boolean;
  /** Whether attention and MLP read the same normalised hidden states. */
  readonly parallelResidual: boolean;
  /** Probability of dropping a value of what the MLP adds, in training. */
  readonly hiddenDropout: number;
}

const configFields = z.object({
  ...decoderFields,
  head_dim: z.null().optional(),
  hidden_act: z.enum(ACTIVATION_NAMES).default("silu"),
  layer_norm_eps: positive.default(1e-5),
  use_qkv_bias: z.boolean().default(false),
  qk_layernorm: z.boolean().default(false),
  use_parallel_residual: z.boolean().default(false),
  hidden_dropout: dropoutRate.default(0),
  partial_rotary_factor: positive.max(1).nullable().optional(),
});

export function parseStableLmConfig(source: ConfigSource): StableLmConfig {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  if (fields.hidden_size % fields.num_attention_heads !== 0) {
    const { num_attention_heads: heads, hidden_size: found } = fields;
    throw configError(source, ["hidden_size"], `expected a multiple of num_attention_heads (${heads}), found ${found}`);
  }
  return {
    modelType: "stablelm",
    architecture: "StableLmForCausalLM",
    ...parseDecoder(source, fields, {
      theta: 10_000,
      tied: false,
      partialRotaryFactor: parsePartialRotaryFactor(source, fields, 0.25),
    }),
    hiddenAct: fields.hidden_act,
    layerNormEps: fields.layer_norm_eps,
    qkvBias: fields.use_qkv_bias,
    qkLayernorm: fields.qk_layernorm,
    parallelResidual: fields.use_parallel_residual,
    hiddenDropout: fields.hidden_dropout,
  };
}

/** A LayerNorm without bias for every head. */
export class StableLmLayerNormPerHead extends Module {
  norms: LayerNorm[];
  readonly eps: number;

  constructor(headDim: number, heads: number, eps: number, options: ModelOptions) {
    super();
    this.norms = Array.from({ length: heads }, () => new LayerNorm(headDim, { ...options, eps, bias: false }));
    this.eps = eps;
  }

  /** @param x `[B, T, H, D]` */
  forward(x: Tensor): Tensor {
    // All weights as one [H, D]: they differ by head, the statistics are of a head alone.
    return layerNorm(
      x,
      stack(
        this.norms.map(({ weight }) => weight),
        0,
      ),
      undefined,
      this.eps,
    );
  }
}

export class StableLmAttention extends Module {
  q_proj: Linear;
  k_proj: Linear;
  v_proj: Linear;
  o_proj: Linear;
  q_layernorm: StableLmLayerNormPerHead | undefined;
  k_layernorm: StableLmLayerNormPerHead | undefined;
  readonly headDim: number;
  readonly dropout: number;
  readonly layerIndex: number;

  constructor(config: StableLmConfig, layerIndex: number, options: ModelOptions) {
    super();
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim, layerNormEps: eps } = config;
    const linear = { ...options, bias: config.qkvBias };
    this.q_proj = new Linear(hiddenSize, numAttentionHeads * headDim, linear);
    this.k_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.v_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.o_proj = new Linear(hiddenSize, hiddenSize, { ...options, bias: false });
    const norm = (heads: number): StableLmLayerNormPerHead | undefined =>
      config.qkLayernorm ? new StableLmLayerNormPerHead(headDim, heads, eps, options) : undefined;
    this.q_layernorm = norm(numAttentionHeads);
    this.k_layernorm = norm(numKeyValueHeads);
    this.headDim = headDim;
    this.dropout = config.attentionDropout;
    this.layerIndex = layerIndex;
  }

  /** @param x `[B, T, hidden]` */
  forward(x: Tensor, context: LayerContext): Tensor {
    const heads = (projected: Tensor): Tensor => splitHeads(projected, this.headDim);
    const queries = heads(this.q_proj.forward(x));
    const keys = heads(this.k_proj.forward(x));
    const { q, k } = applyPartialRotary(
      this.q_layernorm?.forward(queries) ?? queries,
      this.k_layernorm?.forward(keys) ?? keys,
      context.phases.cos,
      context.phases.sin,
    );
    const attended = attendHeads(q, k, heads(this.v_proj.forward(x)), context, {
      layerIndex: this.layerIndex,
      scale: this.headDim ** -0.5,
      dropout: this.training ? this.dropout : 0,
    });
    return this.o_proj.forward(attended);
  }
}

export class StableLmDecoderLayer extends Module {
  self_attn: StableLmAttention;
  mlp: GatedMLP;
  input_layernorm: LayerNorm;
  post_attention_layernorm: LayerNorm | undefined;
  readonly dropout: Dropout;

  constructor(config: StableLmConfig, layerIndex: number, options: ModelOptions) {
    super();
    const norm = { ...options, eps: config.layerNormEps };
    this.self_attn = new StableLmAttention(config, layerIndex, options);
    this.mlp = new GatedMLP(config, false, options);
    this.input_layernorm = new LayerNorm(config.hiddenSize, norm);
    this.post_attention_layernorm = config.parallelResidual ? undefined : new LayerNorm(config.hiddenSize, norm);
    this.dropout = new Dropout(config.hiddenDropout);
  }

  forward(x: Tensor, context: LayerContext): Tensor {
    const normalised = this.input_layernorm.forward(x);
    const attended = add(x, this.self_attn.forward(normalised, context));
    const seen = this.post_attention_layernorm?.forward(attended) ?? normalised;
    return add(attended, this.dropout.forward(this.mlp.forward(seen)));
  }
}

export class StableLmModel extends Decoder<StableLmDecoderLayer> {
  constructor(config: StableLmConfig, options: ModelOptions) {
    const layer = (index: number): StableLmDecoderLayer => new StableLmDecoderLayer(config, index, options);
    super(config, options, layer, new LayerNorm(config.hiddenSize, { ...options, eps: config.layerNormEps }));
  }
}

export class StableLmForCausalLM extends DecoderForCausalLM<StableLmConfig, StableLmModel> {
  constructor(config: StableLmConfig, options: ModelOptions) {
    super(config, new StableLmModel(config, options), options);
  }
}

export const stableLm: Architecture<StableLmConfig> = {
  name: "StableLmForCausalLM",
  modelType: "stablelm",
  parseConfig: parseStableLmConfig,
  create: (config, options) => new StableLmForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
};
