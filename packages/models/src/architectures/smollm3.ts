/** SmolLM3 (https://huggingface.co/blog/smollm3): Llama's layers, of which every fourth does not rotate by position (NoPE). */
import { add, Linear, Module, type Tensor } from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, configError, parseWith } from "../config/config-source.ts";
import { type DecoderConfig, decoderFields, parseDecoder } from "../config/decoder-config.ts";
import { positive, size } from "../config/fields.ts";
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

export interface SmolLM3Config extends DecoderConfig {
  readonly hiddenAct: ActivationName;
  readonly rmsNormEps: number;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  readonly layerWindows: LayerWindows;
  /** Which layers rotate queries and keys. */
  readonly rotates: readonly boolean[];
}

const configFields = z.object({
  ...decoderFields,
  hidden_act: z.enum(ACTIVATION_NAMES).default("silu"),
  rms_norm_eps: positive.default(1e-6),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  ...windowFields,
  use_sliding_window: z.boolean().default(false),
  /** 1 for a layer that rotates, 0 for one that does not. */
  no_rope_layers: z
    .array(z.literal([0, 1]))
    .nullable()
    .optional(),
  no_rope_layer_interval: size.default(4),
});

export function parseSmolLM3Config(source: ConfigSource): SmolLM3Config {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  const slidingWindow = fields.sliding_window ?? undefined;
  const rotates = parseRotates(source, fields);
  return {
    modelType: "smollm3",
    architecture: "SmolLM3ForCausalLM",
    ...parseDecoder(source, fields, { theta: 2_000_000, tied: true }),
    hiddenAct: fields.hidden_act,
    rmsNormEps: fields.rms_norm_eps,
    attentionBias: fields.attention_bias,
    mlpBias: fields.mlp_bias,
    rotates,
    layerWindows: parseLayerWindows(
      source,
      fields.num_hidden_layers,
      fields.layer_types,
      fields.use_sliding_window ? slidingWindow : undefined,
      (layer) => fields.use_sliding_window && slidingWindow !== undefined && !rotates[layer]!,
    ),
  };
}

function parseRotates(source: ConfigSource, fields: z.output<typeof configFields>): boolean[] {
  const { num_hidden_layers: layers, no_rope_layers: listed, no_rope_layer_interval: interval } = fields;
  if (listed != null && listed.length !== layers) {
    throw configError(
      source,
      ["no_rope_layers"],
      `expected one for each of ${layers} layers (num_hidden_layers), found ${listed.length}`,
    );
  }
  return Array.from({ length: layers }, (_, layer) =>
    listed == null ? (layer + 1) % interval !== 0 : listed[layer] === 1,
  );
}

export class SmolLM3Attention extends Module {
  q_proj: Linear;
  k_proj: Linear;
  v_proj: Linear;
  o_proj: Linear;
  readonly headDim: number;
  readonly dropout: number;
  readonly window: number | undefined;
  readonly rotates: boolean;
  readonly layerIndex: number;

  constructor(config: SmolLM3Config, layerIndex: number, options: ModelOptions) {
    super();
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = config;
    const linear = { ...options, bias: config.attentionBias };
    this.q_proj = new Linear(hiddenSize, numAttentionHeads * headDim, linear);
    this.k_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.v_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.o_proj = new Linear(numAttentionHeads * headDim, hiddenSize, linear);
    this.headDim = headDim;
    this.dropout = config.attentionDropout;
    this.window = config.layerWindows[layerIndex];
    this.rotates = config.rotates[layerIndex]!;
    this.layerIndex = layerIndex;
  }

  /** @param x `[B, T, hidden]` */
  forward(x: Tensor, context: LayerContext): Tensor {
    const heads = (projected: Tensor): Tensor => splitHeads(projected, this.headDim);
    const { cos, sin } = context.phases;
    const plain = { q: heads(this.q_proj.forward(x)), k: heads(this.k_proj.forward(x)) };
    const { q, k } = this.rotates ? applyRotary(plain.q, plain.k, cos, sin) : plain;
    const attended = attendHeads(q, k, heads(this.v_proj.forward(x)), context, {
      layerIndex: this.layerIndex,
      scale: this.headDim ** -0.5,
      dropout: this.training ? this.dropout : 0,
      window: this.window,
    });
    return this.o_proj.forward(attended);
  }
}

export class SmolLM3DecoderLayer extends Module {
  self_attn: SmolLM3Attention;
  mlp: GatedMLP;
  input_layernorm: RMSNorm;
  post_attention_layernorm: RMSNorm;

  constructor(config: SmolLM3Config, layerIndex: number, options: ModelOptions) {
    super();
    this.self_attn = new SmolLM3Attention(config, layerIndex, options);
    this.mlp = new GatedMLP(config, config.mlpBias, options);
    this.input_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
    this.post_attention_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
  }

  forward(x: Tensor, context: LayerContext): Tensor {
    const attended = add(x, this.self_attn.forward(this.input_layernorm.forward(x), context));
    return add(attended, this.mlp.forward(this.post_attention_layernorm.forward(attended)));
  }
}

export class SmolLM3Model extends Decoder<SmolLM3DecoderLayer> {
  constructor(config: SmolLM3Config, options: ModelOptions) {
    const layer = (index: number): SmolLM3DecoderLayer => new SmolLM3DecoderLayer(config, index, options);
    super(config, options, layer, new RMSNorm(config.hiddenSize, config.rmsNormEps, options));
  }
}

export class SmolLM3ForCausalLM extends DecoderForCausalLM<SmolLM3Config, SmolLM3Model> {
  constructor(config: SmolLM3Config, options: ModelOptions) {
    super(config, new SmolLM3Model(config, options), options);
  }
}

export const smolLM3: Architecture<SmolLM3Config> = {
  name: "SmolLM3ForCausalLM",
  modelType: "smollm3",
  parseConfig: parseSmolLM3Config,
  create: (config, options) => new SmolLM3ForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
};
