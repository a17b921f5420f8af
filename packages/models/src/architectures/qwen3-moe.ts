/** Qwen3-MoE (https://arxiv.org/abs/2505.09388): Qwen3's layers with a mixture of experts in place of most or all MLPs. */
import { add, cast, div, Linear, Module, reshape, softmax, sum, type Tensor, topk } from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, configError, parseWith } from "../config/config-source.ts";
import { decoderFields, parseDecoder } from "../config/decoder-config.ts";
import { expertFields, type ExpertsConfig, parseExperts } from "../config/expert-fields.ts";
import { positive, size } from "../config/fields.ts";
import { checkUnreadKeys } from "../config/inert-keys.ts";
import { ACTIVATION_NAMES } from "../layers/activations.ts";
import { gatedExperts, mixtureOfExperts, type Routing } from "../layers/experts.ts";
import { GatedMLP } from "../layers/gated-mlp.ts";
import { RMSNorm } from "../layers/rms-norm.ts";
import { RoutedDecoder, RoutedDecoderForCausalLM } from "../modeling/routed-decoder.ts";
import type { LayerContext } from "../modeling/run-layers.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";
import { type ExpertNames, fusedExpertParameters, fusedExperts } from "./fused-experts.ts";
import { Qwen3Attention, type Qwen3Config } from "./qwen3.ts";

export interface Qwen3MoeConfig extends Qwen3Config, ExpertsConfig {
  /** Inner width of an expert; `intermediateSize` is that of layers without experts. */
  readonly moeIntermediateSize: number;
  /** Whether the weights of a token's experts are scaled to a sum of 1. */
  readonly normTopkProb: boolean;
  /** Which layers have experts. */
  readonly sparseLayers: readonly boolean[];
}

const configFields = z.object({
  ...decoderFields,
  ...expertFields,
  /** The same number has two names. */
  num_experts: size.optional(),
  num_local_experts: size.optional(),
  moe_intermediate_size: size,
  norm_topk_prob: z.boolean().default(false),
  decoder_sparse_step: size.default(1),
  mlp_only_layers: z.array(z.int().min(0)).nullable().default([]),
  hidden_act: z.enum(ACTIVATION_NAMES).default("silu"),
  rms_norm_eps: positive.default(1e-6),
  attention_bias: z.boolean().default(false),
  sliding_window: size.nullable().default(4096),
  use_sliding_window: z.boolean().default(false),
  /** Published files have it, but all layers of this architecture have the window, or none. */
  max_window_layers: z.int().min(0).nullable().optional(),
});

export function parseQwen3MoeConfig(source: ConfigSource): Qwen3MoeConfig {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  const { num_experts: experts, num_local_experts: localExperts, num_hidden_layers: layers } = fields;
  if (experts !== undefined && localExperts !== undefined && experts !== localExperts) {
    throw configError(source, ["num_experts"], `contradicts num_local_experts (${localExperts}), found ${experts}`);
  }
  const numExperts = experts ?? localExperts;
  if (numExperts === undefined) {
    throw configError(source, ["num_experts"], "expected a number, found nothing (the key is missing)");
  }
  if (fields.max_window_layers != null) {
    source.onWarning(
      `${source.file}: max_window_layers (${fields.max_window_layers}) has no effect on this architecture.`,
    );
  }
  const window = fields.use_sliding_window ? (fields.sliding_window ?? undefined) : undefined;
  return {
    modelType: "qwen3_moe",
    architecture: "Qwen3MoeForCausalLM",
    ...parseDecoder(source, fields, { theta: 10_000, tied: false }),
    ...parseExperts(source, { ...fields, num_local_experts: numExperts }),
    moeIntermediateSize: fields.moe_intermediate_size,
    normTopkProb: fields.norm_topk_prob,
    sparseLayers: Array.from(
      { length: layers },
      (_, layer) => !(fields.mlp_only_layers ?? []).includes(layer) && (layer + 1) % fields.decoder_sparse_step === 0,
    ),
    hiddenAct: fields.hidden_act,
    rmsNormEps: fields.rms_norm_eps,
    attentionBias: fields.attention_bias,
    layerWindows: Array.from({ length: layers }, () => window),
  };
}

export class Qwen3MoeSparseMoeBlock extends Module {
  gate: Linear;
  experts: GatedMLP[];
  readonly numExpertsPerToken: number;
  readonly normTopkProb: boolean;

  constructor(config: Qwen3MoeConfig, options: ModelOptions) {
    super();
    const expert = { ...config, intermediateSize: config.moeIntermediateSize };
    this.gate = new Linear(config.hiddenSize, config.numExperts, { ...options, bias: false });
    this.experts = Array.from({ length: config.numExperts }, () => new GatedMLP(expert, false, options));
    this.numExpertsPerToken = config.numExpertsPerToken;
    this.normTopkProb = config.normTopkProb;
  }

  /** @param x `[B, T, hidden]` @returns the same shape, and router logits `[B·T, experts]` */
  forward(x: Tensor): [output: Tensor, routerLogits: Tensor] {
    const tokens = reshape(x, [-1, x.shape.at(-1)!]);
    const routerLogits = this.gate.forward(tokens);
    const experts = gatedExperts(this.experts, (expert) => ({
      gate: expert.gate_proj,
      up: expert.up_proj,
      down: expert.down_proj,
    }));
    const output = mixtureOfExperts(tokens, this.#route(routerLogits), this.experts.length, experts);
    return [reshape(output, x.shape), routerLogits];
  }

  /** The k most probable experts; their weights are computed in float32 and rounded to the router's dtype. */
  #route(routerLogits: Tensor): Routing {
    const { values, indices } = topk(softmax(routerLogits, -1, "float32"), this.numExpertsPerToken, -1);
    const weights = this.normTopkProb ? div(values, sum(values, -1, true)) : values;
    return { experts: indices, weights: cast(weights, routerLogits.dtype) };
  }
}

export class Qwen3MoeDecoderLayer extends Module {
  self_attn: Qwen3Attention;
  mlp: Qwen3MoeSparseMoeBlock | GatedMLP;
  input_layernorm: RMSNorm;
  post_attention_layernorm: RMSNorm;

  constructor(config: Qwen3MoeConfig, layerIndex: number, options: ModelOptions) {
    super();
    const isSparse = config.sparseLayers[layerIndex]!;
    this.self_attn = new Qwen3Attention(config, layerIndex, options);
    this.mlp = isSparse ? new Qwen3MoeSparseMoeBlock(config, options) : new GatedMLP(config, false, options);
    this.input_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
    this.post_attention_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
  }

  forward(x: Tensor, context: LayerContext): Tensor[] {
    const attended = add(x, this.self_attn.forward(this.input_layernorm.forward(x), context));
    const normalised = this.post_attention_layernorm.forward(attended);
    if (this.mlp instanceof GatedMLP) {
      return [add(attended, this.mlp.forward(normalised))];
    }
    const [mixed, routerLogits] = this.mlp.forward(normalised);
    return [add(attended, mixed), routerLogits];
  }
}

export class Qwen3MoeModel extends RoutedDecoder<Qwen3MoeDecoderLayer> {
  constructor(config: Qwen3MoeConfig, options: ModelOptions) {
    const layer = (index: number): Qwen3MoeDecoderLayer => new Qwen3MoeDecoderLayer(config, index, options);
    super(config, options, layer, new RMSNorm(config.hiddenSize, config.rmsNormEps, options));
  }
}

export class Qwen3MoeForCausalLM extends RoutedDecoderForCausalLM<Qwen3MoeConfig, Qwen3MoeModel> {
  constructor(config: Qwen3MoeConfig, options: ModelOptions) {
    super(config, new Qwen3MoeModel(config, options), options);
  }
}

const expertNames: ExpertNames = { block: "mlp", gate: "gate_proj", up: "up_proj", down: "down_proj" };

export const qwen3Moe: Architecture<Qwen3MoeConfig> = {
  name: "Qwen3MoeForCausalLM",
  modelType: "qwen3_moe",
  parseConfig: parseQwen3MoeConfig,
  create: (config, options) => new Qwen3MoeForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
  tensorMappings: fusedExperts(expertNames),
  fusedParameters: ({ sparseLayers, numExperts }) =>
    fusedExpertParameters(
      expertNames,
      sparseLayers.flatMap((isSparse, layer) => (isSparse ? [layer] : [])),
      numExperts,
    ),
};
