/**
 * Gemma 3, text only (https://arxiv.org/abs/2503.19786): Gemma 2 with norms on every head's queries and keys in place of soft caps;
 * most layers have a window and rotate by frequencies of their own.
 */
import { add, type DType, Linear, Module, type Tensor } from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, parseWith } from "../config/config-source.ts";
import { type DecoderConfig, decoderFields, parseDecoder } from "../config/decoder-config.ts";
import { cap, positive, size } from "../config/fields.ts";
import { parseRope } from "../config/rope-fields.ts";
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
import type { AttentionContext } from "../modeling/attention-context.ts";
import type { LayerContext } from "../modeling/run-layers.ts";
import { applyRotary } from "../rope/apply-rotary.ts";
import { dependsOnLength } from "../rope/frequencies.ts";
import { type Positions, RotaryEmbedding } from "../rope/rotary-embedding.ts";
import type { RopeParameters } from "../rope/rope-parameters.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";

export interface Gemma3Config extends DecoderConfig {
  /** Rotation in layers with a window; `rope` is that of the others. */
  readonly localRope: RopeParameters;
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

/** Keys of one rotation. */
type RopeKeys = Pick<z.output<z.ZodObject<typeof decoderFields>>, "rope_theta" | "rope_scaling" | "rope_parameters">;

const ropeSection = z.record(z.string(), z.unknown());

const configFields = z.object({
  ...decoderFields,
  ...gemmaActivationFields,
  rms_norm_eps: positive.default(1e-6),
  attention_bias: z.boolean().default(false),
  ...windowFields,
  query_pre_attn_scalar: positive.default(256),
  attn_logit_softcapping: cap.nullable().default(null),
  final_logit_softcapping: cap.nullable().default(null),
  rope_local_base_freq: positive.nullable().optional(),
  /** Every so many layers one sees everything. Files with layer_types do not need it. */
  sliding_window_pattern: size.optional(),
  _sliding_window_pattern: size.optional(),
  use_bidirectional_attention: z.literal(false).nullable().optional(),
});

export function parseGemma3Config(source: ConfigSource): Gemma3Config {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  const slidingWindow = fields.sliding_window === undefined ? 4096 : (fields.sliding_window ?? undefined);
  const pattern = fields.sliding_window_pattern ?? fields._sliding_window_pattern ?? 6;
  const { full, local } = ropeKeys(source, fields);
  const decoder = parseDecoder(source, { ...fields, ...full }, { theta: 1_000_000, tied: true });
  return {
    modelType: "gemma3_text",
    architecture: "Gemma3ForCausalLM",
    ...decoder,
    localRope: parseRope(source, local, {
      maxPositionEmbeddings: fields.max_position_embeddings,
      rotaryDim: decoder.rotaryDim,
      defaultTheta: 10_000,
    }),
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
      (layer) => (layer + 1) % pattern !== 0,
    ),
  };
}

/** The RoPE keys of both kinds of layers: two sections in `rope_parameters`, or transformers 4's `rope_local_base_freq` beside. */
function ropeKeys(source: ConfigSource, fields: z.output<typeof configFields>): { full: RopeKeys; local: RopeKeys } {
  if (fields.rope_parameters == null) {
    const { rope_theta, rope_scaling } = fields;
    return { full: { rope_theta, rope_scaling }, local: { rope_theta: fields.rope_local_base_freq ?? 10_000 } };
  }
  const sections = z.strictObject({ full_attention: ropeSection, sliding_attention: ropeSection });
  const { full_attention, sliding_attention } = parseWith(source, sections, fields.rope_parameters, [
    "rope_parameters",
  ]);
  const localTheta = fields.rope_local_base_freq;
  return {
    full: { ...fields, rope_parameters: full_attention },
    local: { rope_parameters: sliding_attention, ...(localTheta != null && { rope_theta: localTheta }) },
  };
}

export class Gemma3Attention extends Module {
  q_proj: Linear;
  k_proj: Linear;
  v_proj: Linear;
  o_proj: Linear;
  q_norm: GemmaRMSNorm;
  k_norm: GemmaRMSNorm;
  readonly headDim: number;
  readonly dropout: number;
  readonly scale: number;
  readonly softCap: number | undefined;
  readonly window: number | undefined;
  readonly layerIndex: number;

  constructor(config: Gemma3Config, layerIndex: number, options: ModelOptions) {
    super();
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = config;
    const linear = { ...options, bias: config.attentionBias };
    this.q_proj = new Linear(hiddenSize, numAttentionHeads * headDim, linear);
    this.k_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.v_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.o_proj = new Linear(numAttentionHeads * headDim, hiddenSize, linear);
    this.q_norm = new GemmaRMSNorm(headDim, config.rmsNormEps, options);
    this.k_norm = new GemmaRMSNorm(headDim, config.rmsNormEps, options);
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
    const queries = this.q_norm.forward(heads(this.q_proj.forward(x)));
    const keys = this.k_norm.forward(heads(this.k_proj.forward(x)));
    const { q, k } = applyRotary(queries, keys, cos, sin);
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

export class Gemma3DecoderLayer extends Module {
  self_attn: Gemma3Attention;
  mlp: GatedMLP;
  input_layernorm: GemmaRMSNorm;
  post_attention_layernorm: GemmaRMSNorm;
  pre_feedforward_layernorm: GemmaRMSNorm;
  post_feedforward_layernorm: GemmaRMSNorm;

  constructor(config: Gemma3Config, layerIndex: number, options: ModelOptions) {
    super();
    this.self_attn = new Gemma3Attention(config, layerIndex, options);
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

export class Gemma3Model extends Decoder<Gemma3DecoderLayer> {
  readonly localRotary: RotaryEmbedding;
  readonly layerWindows: LayerWindows;

  constructor(config: Gemma3Config, options: ModelOptions) {
    const layer = (index: number): Gemma3DecoderLayer => new Gemma3DecoderLayer(config, index, options);
    super(config, options, layer, new GemmaRMSNorm(config.hiddenSize, config.rmsNormEps, options));
    this.localRotary = new RotaryEmbedding(config.localRope, config.rotaryDim);
    this.layerWindows = config.layerWindows;
  }

  protected override layerContext(
    context: AttentionContext,
    positions: Positions,
    dtype: DType,
  ): (layer: number) => LayerContext {
    const full = { ...context, phases: this.rotary.forward(positions, dtype) };
    const local = { ...context, phases: this.localRotary.forward(positions, dtype) };
    return (layer) => (this.layerWindows[layer] === undefined ? full : local);
  }

  protected override embed(inputIds: Tensor): Tensor {
    return scaleEmbedding(super.embed(inputIds));
  }
}

export class Gemma3ForCausalLM extends DecoderForCausalLM<Gemma3Config, Gemma3Model> {
  constructor(config: Gemma3Config, options: ModelOptions) {
    super(config, new Gemma3Model(config, options), options);
  }

  override equivalentLength(length: number): number {
    return dependsOnLength(this.config.localRope) ? length : super.equivalentLength(length);
  }

  protected override transformLogits(logits: Tensor): Tensor {
    return softCap(logits, this.config.logitsSoftCap);
  }
}

export const gemma3Text: Architecture<Gemma3Config> = {
  name: "Gemma3ForCausalLM",
  modelType: "gemma3_text",
  parseConfig: parseGemma3Config,
  create: (config, options) => new Gemma3ForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
};
