/** Qwen3 (https://arxiv.org/abs/2505.09388): Llama's layers with a norm on every head's queries and keys; upper layers may have a window. */
import { add, Linear, Module, type Tensor } from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, parseWith } from "../config/config-source.ts";
import { type DecoderConfig, decoderFields, parseDecoder } from "../config/decoder-config.ts";
import { layerCount, positive } from "../config/fields.ts";
import { checkUnreadKeys } from "../config/inert-keys.ts";
import { type LayerWindows, parseLayerWindows, windowFields } from "../config/layer-windows.ts";
import { ACTIVATION_NAMES, type ActivationName } from "../layers/activations.ts";
import { attendHeads, splitHeads } from "../layers/attend-heads.ts";
import { GatedMLP } from "../layers/gated-mlp.ts";
import { RMSNorm } from "../layers/rms-norm.ts";
import { Decoder, DecoderForCausalLM } from "../modeling/decoder.ts";
import type { LayerContext } from "../modeling/run-layers.ts";
import { applyRotary } from "../rope/apply-rotary.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";

export interface Qwen3Config extends DecoderConfig {
  readonly hiddenAct: ActivationName;
  readonly rmsNormEps: number;
  readonly attentionBias: boolean;
  readonly layerWindows: LayerWindows;
}

const configFields = z.object({
  ...decoderFields,
  hidden_act: z.enum(ACTIVATION_NAMES).default("silu"),
  rms_norm_eps: positive.default(1e-6),
  attention_bias: z.boolean().default(false),
  ...windowFields,
  use_sliding_window: z.boolean().default(false),
  /** Layers below it see everything. */
  max_window_layers: layerCount.or(z.literal(0)).default(28),
});

export function parseQwen3Config(source: ConfigSource): Qwen3Config {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  // Files without the key have the window of Hugging Face's defaults, if they use one at all.
  const slidingWindow = fields.sliding_window === undefined ? 4096 : (fields.sliding_window ?? undefined);
  return {
    modelType: "qwen3",
    architecture: "Qwen3ForCausalLM",
    ...parseDecoder(source, fields, { theta: 10_000, tied: false }),
    hiddenAct: fields.hidden_act,
    rmsNormEps: fields.rms_norm_eps,
    attentionBias: fields.attention_bias,
    layerWindows: parseLayerWindows(
      source,
      fields.num_hidden_layers,
      fields.layer_types,
      fields.use_sliding_window ? slidingWindow : undefined,
      (layer) => fields.use_sliding_window && slidingWindow !== undefined && layer >= fields.max_window_layers,
    ),
  };
}

export class Qwen3Attention extends Module {
  q_proj: Linear;
  k_proj: Linear;
  v_proj: Linear;
  o_proj: Linear;
  q_norm: RMSNorm;
  k_norm: RMSNorm;
  readonly headDim: number;
  readonly dropout: number;
  readonly window: number | undefined;
  readonly layerIndex: number;

  constructor(config: Qwen3Config, layerIndex: number, options: ModelOptions) {
    super();
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = config;
    const linear = { ...options, bias: config.attentionBias };
    this.q_proj = new Linear(hiddenSize, numAttentionHeads * headDim, linear);
    this.k_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.v_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.o_proj = new Linear(numAttentionHeads * headDim, hiddenSize, linear);
    this.q_norm = new RMSNorm(headDim, config.rmsNormEps, options);
    this.k_norm = new RMSNorm(headDim, config.rmsNormEps, options);
    this.headDim = headDim;
    this.dropout = config.attentionDropout;
    this.window = config.layerWindows[layerIndex];
    this.layerIndex = layerIndex;
  }

  /** @param x `[B, T, hidden]` */
  forward(x: Tensor, context: LayerContext): Tensor {
    const heads = (projected: Tensor): Tensor => splitHeads(projected, this.headDim);
    const { cos, sin } = context.phases;
    const queries = this.q_norm.forward(heads(this.q_proj.forward(x)));
    const keys = this.k_norm.forward(heads(this.k_proj.forward(x)));
    const { q, k } = applyRotary(queries, keys, cos, sin);
    const attended = attendHeads(q, k, heads(this.v_proj.forward(x)), context, {
      layerIndex: this.layerIndex,
      scale: this.headDim ** -0.5,
      dropout: this.training ? this.dropout : 0,
      window: this.window,
    });
    return this.o_proj.forward(attended);
  }
}

export class Qwen3DecoderLayer extends Module {
  self_attn: Qwen3Attention;
  mlp: GatedMLP;
  input_layernorm: RMSNorm;
  post_attention_layernorm: RMSNorm;

  constructor(config: Qwen3Config, layerIndex: number, options: ModelOptions) {
    super();
    this.self_attn = new Qwen3Attention(config, layerIndex, options);
    this.mlp = new GatedMLP(config, false, options);
    this.input_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
    this.post_attention_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
  }

  forward(x: Tensor, context: LayerContext): Tensor {
    const attended = add(x, this.self_attn.forward(this.input_layernorm.forward(x), context));
    return add(attended, this.mlp.forward(this.post_attention_layernorm.forward(attended)));
  }
}

export class Qwen3Model extends Decoder<Qwen3DecoderLayer> {
  constructor(config: Qwen3Config, options: ModelOptions) {
    const layer = (index: number): Qwen3DecoderLayer => new Qwen3DecoderLayer(config, index, options);
    super(config, options, layer, new RMSNorm(config.hiddenSize, config.rmsNormEps, options));
  }
}

export class Qwen3ForCausalLM extends DecoderForCausalLM<Qwen3Config, Qwen3Model> {
  constructor(config: Qwen3Config, options: ModelOptions) {
    super(config, new Qwen3Model(config, options), options);
  }
}

export const qwen3: Architecture<Qwen3Config> = {
  name: "Qwen3ForCausalLM",
  modelType: "qwen3",
  parseConfig: parseQwen3Config,
  create: (config, options) => new Qwen3ForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
};
