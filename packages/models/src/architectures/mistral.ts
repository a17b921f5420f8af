/** Mistral (https://arxiv.org/abs/2310.06825): Llama's layers, in which each token may see a window of the past only. */
import { add, Linear, Module, type Tensor } from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, parseWith } from "../config/config-source.ts";
import { type DecoderConfig, decoderFields, parseDecoder } from "../config/decoder-config.ts";
import { positive, size } from "../config/fields.ts";
import { checkUnreadKeys } from "../config/inert-keys.ts";
import { ACTIVATION_NAMES, type ActivationName } from "../layers/activations.ts";
import { attendHeads, splitHeads } from "../layers/attend-heads.ts";
import { GatedMLP } from "../layers/gated-mlp.ts";
import { RMSNorm } from "../layers/rms-norm.ts";
import { Decoder, DecoderForCausalLM } from "../modeling/decoder.ts";
import type { LayerContext } from "../modeling/run-layers.ts";
import { applyRotary } from "../rope/apply-rotary.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";

export interface MistralConfig extends DecoderConfig {
  readonly hiddenAct: ActivationName;
  readonly rmsNormEps: number;
  /** Tokens that a token sees, itself included; undefined: all before it. */
  readonly slidingWindow: number | undefined;
}

const configFields = z.object({
  ...decoderFields,
  hidden_act: z.enum(ACTIVATION_NAMES).default("silu"),
  rms_norm_eps: positive.default(1e-6),
  /** null is no window; files without the key have the one of the first Mistral. */
  sliding_window: size.nullable().default(4096),
});

export function parseMistralConfig(source: ConfigSource): MistralConfig {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  return {
    modelType: "mistral",
    architecture: "MistralForCausalLM",
    ...parseDecoder(source, fields, { theta: 10_000, tied: false }),
    hiddenAct: fields.hidden_act,
    rmsNormEps: fields.rms_norm_eps,
    slidingWindow: fields.sliding_window ?? undefined,
  };
}

export class MistralAttention extends Module {
  q_proj: Linear;
  k_proj: Linear;
  v_proj: Linear;
  o_proj: Linear;
  readonly headDim: number;
  readonly dropout: number;
  readonly window: number | undefined;
  readonly layerIndex: number;

  constructor(config: MistralConfig, layerIndex: number, options: ModelOptions) {
    super();
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = config;
    const linear = { ...options, bias: false };
    this.q_proj = new Linear(hiddenSize, numAttentionHeads * headDim, linear);
    this.k_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.v_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.o_proj = new Linear(numAttentionHeads * headDim, hiddenSize, linear);
    this.headDim = headDim;
    this.dropout = config.attentionDropout;
    this.window = config.slidingWindow;
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
      window: this.window,
    });
    return this.o_proj.forward(attended);
  }
}

export class MistralDecoderLayer extends Module {
  self_attn: MistralAttention;
  mlp: GatedMLP;
  input_layernorm: RMSNorm;
  post_attention_layernorm: RMSNorm;

  constructor(config: MistralConfig, layerIndex: number, options: ModelOptions) {
    super();
    this.self_attn = new MistralAttention(config, layerIndex, options);
    this.mlp = new GatedMLP(config, false, options);
    this.input_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
    this.post_attention_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
  }

  forward(x: Tensor, context: LayerContext): Tensor {
    const attended = add(x, this.self_attn.forward(this.input_layernorm.forward(x), context));
    return add(attended, this.mlp.forward(this.post_attention_layernorm.forward(attended)));
  }
}

export class MistralModel extends Decoder<MistralDecoderLayer> {
  constructor(config: MistralConfig, options: ModelOptions) {
    const layer = (index: number): MistralDecoderLayer => new MistralDecoderLayer(config, index, options);
    super(config, options, layer, new RMSNorm(config.hiddenSize, config.rmsNormEps, options));
  }
}

export class MistralForCausalLM extends DecoderForCausalLM<MistralConfig, MistralModel> {
  constructor(config: MistralConfig, options: ModelOptions) {
    super(config, new MistralModel(config, options), options);
  }
}

export const mistral: Architecture<MistralConfig> = {
  name: "MistralForCausalLM",
  modelType: "mistral",
  parseConfig: parseMistralConfig,
  create: (config, options) => new MistralForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
};
