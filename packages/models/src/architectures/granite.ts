/**
 * Granite (https://arxiv.org/abs/2405.04324, 3.0 and later): Llama's layers with fixed multipliers on embeddings, attention scores,
 * residual branches and logits.
 */
import { add, div, Linear, Module, mul, type Tensor } from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, parseWith } from "../config/config-source.ts";
import { type DecoderConfig, decoderFields, parseDecoder } from "../config/decoder-config.ts";
import { multiplier, positive } from "../config/fields.ts";
import { checkUnreadKeys } from "../config/inert-keys.ts";
import { ACTIVATION_NAMES, type ActivationName } from "../layers/activations.ts";
import { attendHeads, splitHeads } from "../layers/attend-heads.ts";
import { GatedMLP } from "../layers/gated-mlp.ts";
import { RMSNorm } from "../layers/rms-norm.ts";
import { Decoder, DecoderForCausalLM } from "../modeling/decoder.ts";
import type { LayerContext } from "../modeling/run-layers.ts";
import { applyRotary } from "../rope/apply-rotary.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";

export interface GraniteConfig extends DecoderConfig {
  readonly hiddenAct: ActivationName;
  readonly rmsNormEps: number;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  /** Factor of the embeddings. */
  readonly embeddingMultiplier: number;
  /** Factor of the attention scores, in place of 1 / sqrt(headDim). */
  readonly attentionMultiplier: number;
  /** Factor of what attention and MLP add. */
  readonly residualMultiplier: number;
  /** What logits are divided by. */
  readonly logitsScaling: number;
}

const configFields = z.object({
  ...decoderFields,
  hidden_act: z.enum(ACTIVATION_NAMES).default("silu"),
  rms_norm_eps: positive.default(1e-6),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  embedding_multiplier: multiplier.default(1),
  attention_multiplier: multiplier.default(1),
  residual_multiplier: multiplier.default(1),
  logits_scaling: positive.default(1),
});

export function parseGraniteConfig(source: ConfigSource): GraniteConfig {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  return {
    modelType: "granite",
    architecture: "GraniteForCausalLM",
    ...parseDecoder(source, fields, { theta: 10_000, tied: false }),
    hiddenAct: fields.hidden_act,
    rmsNormEps: fields.rms_norm_eps,
    attentionBias: fields.attention_bias,
    mlpBias: fields.mlp_bias,
    embeddingMultiplier: fields.embedding_multiplier,
    attentionMultiplier: fields.attention_multiplier,
    residualMultiplier: fields.residual_multiplier,
    logitsScaling: fields.logits_scaling,
  };
}

export class GraniteAttention extends Module {
  q_proj: Linear;
  k_proj: Linear;
  v_proj: Linear;
  o_proj: Linear;
  readonly headDim: number;
  readonly dropout: number;
  readonly scale: number;
  readonly layerIndex: number;

  constructor(config: GraniteConfig, layerIndex: number, options: ModelOptions) {
    super();
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = config;
    const linear = { ...options, bias: config.attentionBias };
    this.q_proj = new Linear(hiddenSize, numAttentionHeads * headDim, linear);
    this.k_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.v_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.o_proj = new Linear(numAttentionHeads * headDim, hiddenSize, linear);
    this.headDim = headDim;
    this.dropout = config.attentionDropout;
    this.scale = config.attentionMultiplier;
    this.layerIndex = layerIndex;
  }

  /** @param x `[B, T, hidden]` */
  forward(x: Tensor, context: LayerContext): Tensor {
    const heads = (projected: Tensor): Tensor => splitHeads(projected, this.headDim);
    const { cos, sin } = context.phases;
    const { q, k } = applyRotary(heads(this.q_proj.forward(x)), heads(this.k_proj.forward(x)), cos, sin);
    const attended = attendHeads(q, k, heads(this.v_proj.forward(x)), context, {
      layerIndex: this.layerIndex,
      scale: this.scale,
      dropout: this.training ? this.dropout : 0,
    });
    return this.o_proj.forward(attended);
  }
}

export class GraniteDecoderLayer extends Module {
  self_attn: GraniteAttention;
  mlp: GatedMLP;
  input_layernorm: RMSNorm;
  post_attention_layernorm: RMSNorm;
  readonly residualMultiplier: number;

  constructor(config: GraniteConfig, layerIndex: number, options: ModelOptions) {
    super();
    this.self_attn = new GraniteAttention(config, layerIndex, options);
    this.mlp = new GatedMLP(config, config.mlpBias, options);
    this.input_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
    this.post_attention_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
    this.residualMultiplier = config.residualMultiplier;
  }

  forward(x: Tensor, context: LayerContext): Tensor {
    const attended = this.#residual(x, this.self_attn.forward(this.input_layernorm.forward(x), context));
    return this.#residual(attended, this.mlp.forward(this.post_attention_layernorm.forward(attended)));
  }

  #residual(x: Tensor, branch: Tensor): Tensor {
    return add(x, mul(branch, this.residualMultiplier));
  }
}

export class GraniteModel extends Decoder<GraniteDecoderLayer> {
  readonly embeddingMultiplier: number;

  constructor(config: GraniteConfig, options: ModelOptions) {
    const layer = (index: number): GraniteDecoderLayer => new GraniteDecoderLayer(config, index, options);
    super(config, options, layer, new RMSNorm(config.hiddenSize, config.rmsNormEps, options));
    this.embeddingMultiplier = config.embeddingMultiplier;
  }

  protected override embed(inputIds: Tensor): Tensor {
    return mul(super.embed(inputIds), this.embeddingMultiplier);
  }
}

export class GraniteForCausalLM extends DecoderForCausalLM<GraniteConfig, GraniteModel> {
  constructor(config: GraniteConfig, options: ModelOptions) {
    super(config, new GraniteModel(config, options), options);
  }

  protected override transformLogits(logits: Tensor): Tensor {
    return div(logits, this.config.logitsScaling);
  }
}

export const granite: Architecture<GraniteConfig> = {
  name: "GraniteForCausalLM",
  modelType: "granite",
  parseConfig: parseGraniteConfig,
  create: (config, options) => new GraniteForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
};
