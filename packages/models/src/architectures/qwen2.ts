/** Qwen2 (https://arxiv.org/abs/2407.10671): Llama's layers with biases on queries, keys and values; upper layers may have a window. */
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

export interface Qwen2Config extends DecoderConfig {
  readonly hiddenAct: ActivationName;
  readonly rmsNormEps: number;
  readonly layerWindows: LayerWindows;
}

const configFields = z.object({
  ...decoderFields,
  hidden_act: z.enum(ACTIVATION_NAMES).default("silu"),
  rms_norm_eps: positive.default(1e-6),
  ...windowFields,
  use_sliding_window: z.boolean().default(false),
  /** Layers below it see everything. */
  max_window_layers: layerCount.or(z.literal(0)).default(28),
});

export function parseQwen2Config(source: ConfigSource): Qwen2Config {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  // Files without the key have the window that the first Qwen2 had, if they use one at all.
  const slidingWindow = fields.sliding_window === undefined ? 4096 : (fields.sliding_window ?? undefined);
  return {
    modelType: "qwen2",
    architecture: "Qwen2ForCausalLM",
    ...parseDecoder(source, fields, { theta: 10_000, tied: false }),
    hiddenAct: fields.hidden_act,
    rmsNormEps: fields.rms_norm_eps,
    layerWindows: parseLayerWindows(
      source,
      fields.num_hidden_layers,
      fields.layer_types,
      fields.use_sliding_window ? slidingWindow : undefined,
      (layer) => fields.use_sliding_window && slidingWindow !== undefined && layer >= fields.max_window_layers,
    ),
  };
}

export class Qwen2Attention extends Module {
  q_proj: Linear;
  k_proj: Linear;
  v_proj: Linear;
  o_proj: Linear;
  readonly headDim: number;
  readonly dropout: number;
  readonly window: number | undefined;
  readonly layerIndex: number;

  constructor(config: Qwen2Config, layerIndex: number, options: ModelOptions) {
    super();
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = config;
    const linear = { ...options, bias: true };
    this.q_proj = new Linear(hiddenSize, numAttentionHeads * headDim, linear);
    this.k_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.v_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.o_proj = new Linear(numAttentionHeads * headDim, hiddenSize, { ...options, bias: false });
    this.headDim = headDim;
    this.dropout = config.attentionDropout;
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
      scale: this.headDim ** -0.5,
      dropout: this.training ? this.dropout : 0,
      window: this.window,
    });
    return this.o_proj.forward(attended);
  }
}

export class Qwen2DecoderLayer extends Module {
  self_attn: Qwen2Attention;
  mlp: GatedMLP;
  input_layernorm: RMSNorm;
  post_attention_layernorm: RMSNorm;

  constructor(config: Qwen2Config, layerIndex: number, options: ModelOptions) {
    super();
    this.self_attn = new Qwen2Attention(config, layerIndex, options);
    this.mlp = new GatedMLP(config, false, options);
    this.input_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
    this.post_attention_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
  }

  forward(x: Tensor, context: LayerContext): Tensor {
    const attended = add(x, this.self_attn.forward(this.input_layernorm.forward(x), context));
    return add(attended, this.mlp.forward(this.post_attention_layernorm.forward(attended)));
  }
}

export class Qwen2Model extends Decoder<Qwen2DecoderLayer> {
  constructor(config: Qwen2Config, options: ModelOptions) {
    const layer = (index: number): Qwen2DecoderLayer => new Qwen2DecoderLayer(config, index, options);
    super(config, options, layer, new RMSNorm(config.hiddenSize, config.rmsNormEps, options));
  }
}

export class Qwen2ForCausalLM extends DecoderForCausalLM<Qwen2Config, Qwen2Model> {
  constructor(config: Qwen2Config, options: ModelOptions) {
    super(config, new Qwen2Model(config, options), options);
  }
}

export const qwen2: Architecture<Qwen2Config> = {
  name: "Qwen2ForCausalLM",
  modelType: "qwen2",
  parseConfig: parseQwen2Config,
  create: (config, options) => new Qwen2ForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
};
