/**
 * OLMo 2 (https://arxiv.org/abs/2501.00656): norms after attention and MLP instead of before, and on all queries and keys together
 * before they become heads.
 */
import { add, cast, type DType, Linear, mean, Module, mul, rsqrt, scope, square, type Tensor } from "@fms-accel/tensor";
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
import type { AttentionContext } from "../modeling/attention-context.ts";
import type { LayerContext } from "../modeling/run-layers.ts";
import { applyRotary } from "../rope/apply-rotary.ts";
import type { Positions } from "../rope/rotary-embedding.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";

export interface Olmo2Config extends DecoderConfig {
  readonly hiddenAct: ActivationName;
  readonly rmsNormEps: number;
  readonly attentionBias: boolean;
}

const configFields = z.object({
  ...decoderFields,
  hidden_act: z.enum(ACTIVATION_NAMES).default("silu"),
  rms_norm_eps: positive.default(1e-5),
  attention_bias: z.boolean().default(false),
});

export function parseOlmo2Config(source: ConfigSource): Olmo2Config {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  return {
    modelType: "olmo2",
    architecture: "Olmo2ForCausalLM",
    ...parseDecoder(source, fields, { theta: 10_000, tied: false }),
    hiddenAct: fields.hidden_act,
    rmsNormEps: fields.rms_norm_eps,
    attentionBias: fields.attention_bias,
  };
}

/** RMSNorm whose values meet the weight in float32 and are rounded to x's dtype last. */
export class Olmo2RMSNorm extends RMSNorm {
  override forward(x: Tensor): Tensor {
    return scope(() => {
      const wide = cast(x, "float32");
      const normalised = mul(wide, rsqrt(add(mean(square(wide), -1, true), this.eps)));
      return cast(mul(this.weight, normalised), x.dtype);
    });
  }
}

export class Olmo2Attention extends Module {
  q_proj: Linear;
  k_proj: Linear;
  v_proj: Linear;
  o_proj: Linear;
  q_norm: Olmo2RMSNorm;
  k_norm: Olmo2RMSNorm;
  readonly headDim: number;
  readonly dropout: number;
  readonly layerIndex: number;

  constructor(config: Olmo2Config, layerIndex: number, options: ModelOptions) {
    super();
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = config;
    const linear = { ...options, bias: config.attentionBias };
    this.q_proj = new Linear(hiddenSize, numAttentionHeads * headDim, linear);
    this.k_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.v_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.o_proj = new Linear(numAttentionHeads * headDim, hiddenSize, linear);
    this.q_norm = new Olmo2RMSNorm(numAttentionHeads * headDim, config.rmsNormEps, options);
    this.k_norm = new Olmo2RMSNorm(numKeyValueHeads * headDim, config.rmsNormEps, options);
    this.headDim = headDim;
    this.dropout = config.attentionDropout;
    this.layerIndex = layerIndex;
  }

  /** @param x `[B, T, hidden]` */
  forward(x: Tensor, context: LayerContext): Tensor {
    const heads = (projected: Tensor): Tensor => splitHeads(projected, this.headDim);
    const { cos, sin } = context.phases;
    const queries = heads(this.q_norm.forward(this.q_proj.forward(x)));
    const keys = heads(this.k_norm.forward(this.k_proj.forward(x)));
    const rotated = applyRotary(queries, keys, cos, sin);
    const [q, k] = [cast(rotated.q, x.dtype), cast(rotated.k, x.dtype)];
    const attended = attendHeads(q, k, heads(this.v_proj.forward(x)), context, {
      layerIndex: this.layerIndex,
      scale: this.headDim ** -0.5,
      dropout: this.training ? this.dropout : 0,
    });
    return this.o_proj.forward(attended);
  }
}

export class Olmo2DecoderLayer extends Module {
  self_attn: Olmo2Attention;
  mlp: GatedMLP;
  post_attention_layernorm: Olmo2RMSNorm;
  post_feedforward_layernorm: Olmo2RMSNorm;

  constructor(config: Olmo2Config, layerIndex: number, options: ModelOptions) {
    super();
    this.self_attn = new Olmo2Attention(config, layerIndex, options);
    this.mlp = new GatedMLP(config, false, options);
    this.post_attention_layernorm = new Olmo2RMSNorm(config.hiddenSize, config.rmsNormEps, options);
    this.post_feedforward_layernorm = new Olmo2RMSNorm(config.hiddenSize, config.rmsNormEps, options);
  }

  forward(x: Tensor, context: LayerContext): Tensor {
    const attended = add(x, this.post_attention_layernorm.forward(this.self_attn.forward(x, context)));
    return add(attended, this.post_feedforward_layernorm.forward(this.mlp.forward(attended)));
  }
}

export class Olmo2Model extends Decoder<Olmo2DecoderLayer> {
  constructor(config: Olmo2Config, options: ModelOptions) {
    const layer = (index: number): Olmo2DecoderLayer => new Olmo2DecoderLayer(config, index, options);
    super(config, options, layer, new Olmo2RMSNorm(config.hiddenSize, config.rmsNormEps, options));
  }

  /** Phases stay float32 in a bfloat16 model: the rotation is computed in float32 and rounded once. */
  protected override layerContext(context: AttentionContext, positions: Positions, _dtype: DType): LayerContext {
    return { ...context, phases: this.rotary.forward(positions, "float32") };
  }
}

export class Olmo2ForCausalLM extends DecoderForCausalLM<Olmo2Config, Olmo2Model> {
  constructor(config: Olmo2Config, options: ModelOptions) {
    super(config, new Olmo2Model(config, options), options);
  }
}

export const olmo2: Architecture<Olmo2Config> = {
  name: "Olmo2ForCausalLM",
  modelType: "olmo2",
  parseConfig: parseOlmo2Config,
  create: (config, options) => new Olmo2ForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
};
