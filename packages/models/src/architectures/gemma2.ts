/**
 * Gemma 2 (https://arxiv.org/abs/2408.00118): norms before and after attention and MLP, capped scores and logits, and a window in
 * every other layer.
 */
import { add, Linear, Module, type Tensor } from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, parseWith } from "../config/config-source.ts";
import { type DecoderConfig, decoderFields, parseDecoder } from "../config/decoder-config.ts";
import { cap, positive } from "../config/fields.ts";
import { gemmaActivationFields, parseGemmaActivation } from "../config/gemma-activation.ts";
import { checkUnreadKeys } from "../config/inert-keys.ts";
import { type LayerWindows, parseLayerWindows, windowFields } from "../config/layer-windows.ts";
import type { ActivationName } from "../layers/activations.ts";
import { attendHeads, splitHeads } from "../layers/attend-heads.ts";
import { GatedMLP } from "../layers/gated-mlp.ts";
import { GemmaRMSNorm } from "../layers/gemma-rms-norm.ts";
import { scaleEmbedding } from "../layers/scale-embedding.ts";
import { softCap } from "../layers/soft-cap.ts";
import { Decoder, DecoderForCausalLM } from "../modeling/decoder.ts";
import type { LayerContext } from "../modeling/run-layers.ts";
import { applyRotary } from "../rope/apply-rotary.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";

export interface Gemma2Config extends DecoderConfig {
  readonly hiddenAct: ActivationName;
  readonly rmsNormEps: number;
  readonly attentionBias: boolean;
  /** Factor of the attention scores. */
  readonly attentionScale: number;
  /** Attention scores stay within it. */
  readonly attentionSoftCap: number | undefined;
  /** Logits stay within it. */
  readonly logitsSoftCap: number | undefined;
  readonly layerWindows: LayerWindows;
}

const configFields = z.object({
  ...decoderFields,
  ...gemmaActivationFields,
  rms_norm_eps: positive.default(1e-6),
  attention_bias: z.boolean().default(false),
  ...windowFields,
  query_pre_attn_scalar: positive.default(256),
  attn_logit_softcapping: cap.nullable().default(50),
  final_logit_softcapping: cap.nullable().default(30),
  use_bidirectional_attention: z.literal(false).nullable().optional(),
});

export function parseGemma2Config(source: ConfigSource): Gemma2Config {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  const slidingWindow = fields.sliding_window === undefined ? 4096 : (fields.sliding_window ?? undefined);
  return {
    modelType: "gemma2",
    architecture: "Gemma2ForCausalLM",
    ...parseDecoder(source, fields, { theta: 10_000, tied: true }),
    hiddenAct: parseGemmaActivation(source, fields),
    rmsNormEps: fields.rms_norm_eps,
    attentionBias: fields.attention_bias,
    attentionScale: fields.query_pre_attn_scalar ** -0.5,
    attentionSoftCap: fields.attn_logit_softcapping ?? undefined,
    logitsSoftCap: fields.final_logit_softcapping ?? undefined,
    layerWindows: parseLayerWindows(
      source,
      fields.num_hidden_layers,
      fields.layer_types,
      slidingWindow,
      (layer) => slidingWindow !== undefined && layer % 2 === 0,
    ),
  };
}

export class Gemma2Attention extends Module {
  q_proj: Linear;
  k_proj: Linear;
  v_proj: Linear;
  o_proj: Linear;
  readonly headDim: number;
  readonly dropout: number;
  readonly scale: number;
  readonly softCap: number | undefined;
  readonly window: number | undefined;
  readonly layerIndex: number;

  constructor(config: Gemma2Config, layerIndex: number, options: ModelOptions) {
    super();
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = config;
    const linear = { ...options, bias: config.attentionBias };
    this.q_proj = new Linear(hiddenSize, numAttentionHeads * headDim, linear);
    this.k_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.v_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.o_proj = new Linear(numAttentionHeads * headDim, hiddenSize, linear);
    this.headDim = headDim;
    this.dropout = config.attentionDropout;
    this.scale = config.attentionScale;
    this.softCap = config.attentionSoftCap;
    this.window = config.layerWindows[layerIndex];
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
      softCap: this.softCap,
      window: this.window,
      dropout: this.training ? this.dropout : 0,
    });
    return this.o_proj.forward(attended);
  }
}

export class Gemma2DecoderLayer extends Module {
  self_attn: Gemma2Attention;
  mlp: GatedMLP;
  input_layernorm: GemmaRMSNorm;
  post_attention_layernorm: GemmaRMSNorm;
  pre_feedforward_layernorm: GemmaRMSNorm;
  post_feedforward_layernorm: GemmaRMSNorm;

  constructor(config: Gemma2Config, layerIndex: number, options: ModelOptions) {
    super();
    this.self_attn = new Gemma2Attention(config, layerIndex, options);
    this.mlp = new GatedMLP(config, false, options);
    const norm = (): GemmaRMSNorm => new GemmaRMSNorm(config.hiddenSize, config.rmsNormEps, options);
    this.input_layernorm = norm();
    this.post_attention_layernorm = norm();
    this.pre_feedforward_layernorm = norm();
    this.post_feedforward_layernorm = norm();
  }

  forward(x: Tensor, context: LayerContext): Tensor {
    const attention = this.self_attn.forward(this.input_layernorm.forward(x), context);
    const attended = add(x, this.post_attention_layernorm.forward(attention));
    const widened = this.mlp.forward(this.pre_feedforward_layernorm.forward(attended));
    return add(attended, this.post_feedforward_layernorm.forward(widened));
  }
}

export class Gemma2Model extends Decoder<Gemma2DecoderLayer> {
  constructor(config: Gemma2Config, options: ModelOptions) {
    const layer = (index: number): Gemma2DecoderLayer => new Gemma2DecoderLayer(config, index, options);
    super(config, options, layer, new GemmaRMSNorm(config.hiddenSize, config.rmsNormEps, options));
  }

  protected override embed(inputIds: Tensor): Tensor {
    return scaleEmbedding(super.embed(inputIds));
  }
}

export class Gemma2ForCausalLM extends DecoderForCausalLM<Gemma2Config, Gemma2Model> {
  constructor(config: Gemma2Config, options: ModelOptions) {
    super(config, new Gemma2Model(config, options), options);
  }

  protected override transformLogits(logits: Tensor): Tensor {
    return softCap(logits, this.config.logitsSoftCap);
  }
}

export const gemma2: Architecture<Gemma2Config> = {
  name: "Gemma2ForCausalLM",
  modelType: "gemma2",
  parseConfig: parseGemma2Config,
  create: (config, options) => new Gemma2ForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
};
