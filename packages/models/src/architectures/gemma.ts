/** Gemma (https://arxiv.org/abs/2403.08295): Llama's layers with norms of 1 + weight, GELU, and embeddings scaled by √hidden. */
import { add, Linear, Module, type Tensor } from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, parseWith } from "../config/config-source.ts";
import { type DecoderConfig, decoderFields, parseDecoder } from "../config/decoder-config.ts";
import { positive } from "../config/fields.ts";
import { gemmaActivationFields, parseGemmaActivation } from "../config/gemma-activation.ts";
import { checkUnreadKeys } from "../config/inert-keys.ts";
import type { ActivationName } from "../layers/activations.ts";
import { attendHeads, splitHeads } from "../layers/attend-heads.ts";
import { GatedMLP } from "../layers/gated-mlp.ts";
import { GemmaRMSNorm } from "../layers/gemma-rms-norm.ts";
import { scaleEmbedding } from "../layers/scale-embedding.ts";
import { Decoder, DecoderForCausalLM } from "../modeling/decoder.ts";
import type { LayerContext } from "../modeling/run-layers.ts";
import { applyRotary } from "../rope/apply-rotary.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";

export interface GemmaConfig extends DecoderConfig {
  readonly hiddenAct: ActivationName;
  readonly rmsNormEps: number;
  readonly attentionBias: boolean;
}

const configFields = z.object({
  ...decoderFields,
  ...gemmaActivationFields,
  rms_norm_eps: positive.default(1e-6),
  attention_bias: z.boolean().default(false),
  use_bidirectional_attention: z.literal(false).nullable().optional(),
});

export function parseGemmaConfig(source: ConfigSource): GemmaConfig {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  return {
    modelType: "gemma",
    architecture: "GemmaForCausalLM",
    ...parseDecoder(source, fields, { theta: 10_000, tied: true }),
    hiddenAct: parseGemmaActivation(source, fields),
    rmsNormEps: fields.rms_norm_eps,
    attentionBias: fields.attention_bias,
  };
}

export class GemmaAttention extends Module {
  q_proj: Linear;
  k_proj: Linear;
  v_proj: Linear;
  o_proj: Linear;
  readonly headDim: number;
  readonly dropout: number;
  readonly layerIndex: number;

  constructor(config: GemmaConfig, layerIndex: number, options: ModelOptions) {
    super();
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = config;
    const linear = { ...options, bias: config.attentionBias };
    this.q_proj = new Linear(hiddenSize, numAttentionHeads * headDim, linear);
    this.k_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.v_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.o_proj = new Linear(numAttentionHeads * headDim, hiddenSize, linear);
    this.headDim = headDim;
    this.dropout = config.attentionDropout;
    this.layerIndex = layerIndex;
  }

  /** @param x `[B, T, hidden]` */
  forward(x: Tensor, context: LayerContext): Tensor {
    const heads = (projected: Tensor): Tensor => splitHeads(projected, this.headDim);
    const { cos, sin } = context.phases;
    const { q, k } = applyRotary(heads(this.q_proj.forward(x)), heads(this.k_proj.forward(x)), cos, sin);
    const attended = attendHeads(q, k, heads(this.v_proj.forward(x)), context, {
      layerIndex: this.layerIndex,
      scale: this.headDim ** -0.5,
      dropout: this.training ? this.dropout : 0,
    });
    return this.o_proj.forward(attended);
  }
}

export class GemmaDecoderLayer extends Module {
  self_attn: GemmaAttention;
  mlp: GatedMLP;
  input_layernorm: GemmaRMSNorm;
  post_attention_layernorm: GemmaRMSNorm;

  constructor(config: GemmaConfig, layerIndex: number, options: ModelOptions) {
    super();
    this.self_attn = new GemmaAttention(config, layerIndex, options);
    this.mlp = new GatedMLP(config, false, options);
    this.input_layernorm = new GemmaRMSNorm(config.hiddenSize, config.rmsNormEps, options);
    this.post_attention_layernorm = new GemmaRMSNorm(config.hiddenSize, config.rmsNormEps, options);
  }

  forward(x: Tensor, context: LayerContext): Tensor {
    const attended = add(x, this.self_attn.forward(this.input_layernorm.forward(x), context));
    return add(attended, this.mlp.forward(this.post_attention_layernorm.forward(attended)));
  }
}

export class GemmaModel extends Decoder<GemmaDecoderLayer> {
  constructor(config: GemmaConfig, options: ModelOptions) {
    const layer = (index: number): GemmaDecoderLayer => new GemmaDecoderLayer(config, index, options);
    super(config, options, layer, new GemmaRMSNorm(config.hiddenSize, config.rmsNormEps, options));
  }

  protected override embed(inputIds: Tensor): Tensor {
    return scaleEmbedding(super.embed(inputIds));
  }
}

export class GemmaForCausalLM extends DecoderForCausalLM<GemmaConfig, GemmaModel> {
  constructor(config: GemmaConfig, options: ModelOptions) {
    super(config, new GemmaModel(config, options), options);
  }
}

export const gemma: Architecture<GemmaConfig> = {
  name: "GemmaForCausalLM",
  modelType: "gemma",
  parseConfig: parseGemmaConfig,
  create: (config, options) => new GemmaForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
};
