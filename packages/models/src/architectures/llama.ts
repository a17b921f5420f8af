/**
 * Llama (https://arxiv.org/abs/2302.13971, https://arxiv.org/abs/2407.21783): a decoder of pre-normalised layers, each of
 * rotary grouped-query attention and a gated MLP. Field names are those of the checkpoint's tensors.
 */
import { add, Linear, Module, type Tensor } from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, parseWith } from "../config/config-source.ts";
import { type DecoderConfig, decoderFields, parseDecoder } from "../config/decoder-config.ts";
import { positive } from "../config/fields.ts";
import { checkUnreadKeys } from "../config/inert-keys.ts";
import { ACTIVATION_NAMES, type ActivationName } from "../layers/activations.ts";
import { attendHeads, splitHeads } from "../layers/attend-heads.ts";
import { GatedMLP } from "../layers/gated-mlp.ts";
import { RMSNorm } from "../layers/rms-norm.ts";
import { Decoder, DecoderForCausalLM } from "../modeling/decoder.ts";
import type { LayerContext } from "../modeling/run-layers.ts";
import { applyRotary } from "../rope/apply-rotary.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";

export interface LlamaConfig extends DecoderConfig {
  readonly hiddenAct: ActivationName;
  readonly rmsNormEps: number;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
}

const configFields = z.object({
  ...decoderFields,
  hidden_act: z.enum(ACTIVATION_NAMES),
  rms_norm_eps: positive,
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  partial_rotary_factor: z.literal(1).nullable().optional(),
});

/** Reads a Llama config.json. Keys that older files lack have Hugging Face's defaults; sizes have none. */
export function parseLlamaConfig(source: ConfigSource): LlamaConfig {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  return {
    modelType: "llama",
    architecture: "LlamaForCausalLM",
    ...parseDecoder(source, fields, { theta: 10_000, tied: false }),
    hiddenAct: fields.hidden_act,
    rmsNormEps: fields.rms_norm_eps,
    attentionBias: fields.attention_bias,
    mlpBias: fields.mlp_bias,
  };
}

/** Attention with rotary positions, several query heads to a key/value head. */
export class LlamaAttention extends Module {
  q_proj: Linear;
  k_proj: Linear;
  v_proj: Linear;
  o_proj: Linear;
  readonly headDim: number;
  readonly dropout: number;
  readonly layerIndex: number;

  constructor(config: LlamaConfig, layerIndex: number, options: ModelOptions) {
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

export class LlamaMLP extends GatedMLP {
  constructor(config: LlamaConfig, options: ModelOptions) {
    super(config, config.mlpBias, options);
  }
}

export class LlamaDecoderLayer extends Module {
  self_attn: LlamaAttention;
  mlp: LlamaMLP;
  input_layernorm: RMSNorm;
  post_attention_layernorm: RMSNorm;

  constructor(config: LlamaConfig, layerIndex: number, options: ModelOptions) {
    super();
    this.self_attn = new LlamaAttention(config, layerIndex, options);
    this.mlp = new LlamaMLP(config, options);
    this.input_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
    this.post_attention_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
  }

  forward(x: Tensor, context: LayerContext): Tensor {
    const attended = add(x, this.self_attn.forward(this.input_layernorm.forward(x), context));
    return add(attended, this.mlp.forward(this.post_attention_layernorm.forward(attended)));
  }
}

/** The decoder without its head. */
export class LlamaModel extends Decoder<LlamaDecoderLayer> {
  constructor(config: LlamaConfig, options: ModelOptions) {
    const layer = (index: number): LlamaDecoderLayer => new LlamaDecoderLayer(config, index, options);
    super(config, options, layer, new RMSNorm(config.hiddenSize, config.rmsNormEps, options));
  }
}

export class LlamaForCausalLM extends DecoderForCausalLM<LlamaConfig, LlamaModel> {
  constructor(config: LlamaConfig, options: ModelOptions) {
    super(config, new LlamaModel(config, options), options);
  }
}

export const llama: Architecture<LlamaConfig> = {
  name: "LlamaForCausalLM",
  modelType: "llama",
  parseConfig: parseLlamaConfig,
  create: (config, options) => new LlamaForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
};
