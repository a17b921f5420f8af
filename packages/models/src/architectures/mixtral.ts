/**
 * Mixtral (https://arxiv.org/abs/2401.04088): Mistral's layers, in which a router sends every token to a few of several gated MLPs.
 * Parameters are those of published checkpoints, one set per expert; files with all experts in one tensor are cut when they are read.
 */
import { add, div, Linear, Module, reshape, softmax, sum, type Tensor, topk } from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, parseWith } from "../config/config-source.ts";
import { decoderFields, parseDecoder } from "../config/decoder-config.ts";
import { expertFields, type ExpertsConfig, parseExperts } from "../config/expert-fields.ts";
import { positive, size } from "../config/fields.ts";
import { checkUnreadKeys } from "../config/inert-keys.ts";
import { ACTIVATION_NAMES, type Activation, activation, gated } from "../layers/activations.ts";
import { gatedExperts, mixtureOfExperts, type Routing } from "../layers/experts.ts";
import { RMSNorm } from "../layers/rms-norm.ts";
import { RoutedDecoder, RoutedDecoderForCausalLM } from "../modeling/routed-decoder.ts";
import type { LayerContext } from "../modeling/run-layers.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";
import { type ExpertNames, fusedExpertParameters, fusedExperts } from "./fused-experts.ts";
import { MistralAttention, type MistralConfig } from "./mistral.ts";

export interface MixtralConfig extends MistralConfig, ExpertsConfig {}

const configFields = z.object({
  ...decoderFields,
  ...expertFields,
  hidden_act: z.enum(ACTIVATION_NAMES).default("silu"),
  rms_norm_eps: positive.default(1e-5),
  sliding_window: size.nullable().default(null),
  /** Noise on the router's input in training; no published file has it. */
  router_jitter_noise: z.literal(0).default(0),
});

export function parseMixtralConfig(source: ConfigSource): MixtralConfig {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  return {
    modelType: "mixtral",
    architecture: "MixtralForCausalLM",
    ...parseDecoder(source, fields, { theta: 1_000_000, tied: false }),
    ...parseExperts(source, fields),
    hiddenAct: fields.hidden_act,
    rmsNormEps: fields.rms_norm_eps,
    slidingWindow: fields.sliding_window ?? undefined,
  };
}

/** One expert: w2(act(w1(x)) · w3(x)). */
export class MixtralExpert extends Module {
  w1: Linear;
  w2: Linear;
  w3: Linear;
  readonly activation: Activation;

  constructor({ hiddenSize, intermediateSize, hiddenAct }: MixtralConfig, options: ModelOptions) {
    super();
    const linear = { ...options, bias: false };
    this.w1 = new Linear(hiddenSize, intermediateSize, linear);
    this.w2 = new Linear(intermediateSize, hiddenSize, linear);
    this.w3 = new Linear(hiddenSize, intermediateSize, linear);
    this.activation = activation(hiddenAct);
  }

  forward(x: Tensor): Tensor {
    return this.w2.forward(gated(this.activation, this.w1.forward(x), this.w3.forward(x)));
  }
}

export class MixtralSparseMoeBlock extends Module {
  gate: Linear;
  experts: MixtralExpert[];
  readonly numExpertsPerToken: number;

  constructor(config: MixtralConfig, options: ModelOptions) {
    super();
    this.gate = new Linear(config.hiddenSize, config.numExperts, { ...options, bias: false });
    this.experts = Array.from({ length: config.numExperts }, () => new MixtralExpert(config, options));
    this.numExpertsPerToken = config.numExpertsPerToken;
  }

  /** @param x `[B, T, hidden]` @returns the same shape, and router logits `[B·T, experts]` */
  forward(x: Tensor): [output: Tensor, routerLogits: Tensor] {
    const tokens = reshape(x, [-1, x.shape.at(-1)!]);
    const routerLogits = this.gate.forward(tokens);
    const experts = gatedExperts(this.experts, ({ w1, w2, w3 }) => ({ gate: w1, up: w3, down: w2 }));
    const output = mixtureOfExperts(tokens, this.#route(routerLogits), this.experts.length, experts);
    return [reshape(output, x.shape), routerLogits];
  }

  /** The k most probable experts, their probabilities scaled to a sum of 1 and kept in float32. */
  #route(routerLogits: Tensor): Routing {
    const { values, indices } = topk(softmax(routerLogits, -1, "float32"), this.numExpertsPerToken, -1);
    return { experts: indices, weights: div(values, sum(values, -1, true)) };
  }
}

export class MixtralDecoderLayer extends Module {
  self_attn: MistralAttention;
  block_sparse_moe: MixtralSparseMoeBlock;
  input_layernorm: RMSNorm;
  post_attention_layernorm: RMSNorm;

  constructor(config: MixtralConfig, layerIndex: number, options: ModelOptions) {
    super();
    this.self_attn = new MistralAttention(config, layerIndex, options);
    this.block_sparse_moe = new MixtralSparseMoeBlock(config, options);
    this.input_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
    this.post_attention_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
  }

  forward(x: Tensor, context: LayerContext): Tensor[] {
    const attended = add(x, this.self_attn.forward(this.input_layernorm.forward(x), context));
    const [mixed, routerLogits] = this.block_sparse_moe.forward(this.post_attention_layernorm.forward(attended));
    return [add(attended, mixed), routerLogits];
  }
}

export class MixtralModel extends RoutedDecoder<MixtralDecoderLayer> {
  constructor(config: MixtralConfig, options: ModelOptions) {
    const layer = (index: number): MixtralDecoderLayer => new MixtralDecoderLayer(config, index, options);
    super(config, options, layer, new RMSNorm(config.hiddenSize, config.rmsNormEps, options));
  }
}

export class MixtralForCausalLM extends RoutedDecoderForCausalLM<MixtralConfig, MixtralModel> {
  constructor(config: MixtralConfig, options: ModelOptions) {
    super(config, new MixtralModel(config, options), options);
  }
}

const expertNames: ExpertNames = { block: "block_sparse_moe", gate: "w1", up: "w3", down: "w2" };

export const mixtral: Architecture<MixtralConfig> = {
  name: "MixtralForCausalLM",
  modelType: "mixtral",
  parseConfig: parseMixtralConfig,
  create: (config, options) => new MixtralForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
  tensorMappings: fusedExperts(expertNames),
  fusedParameters: ({ numHiddenLayers, numExperts }) =>
    fusedExpertParameters(expertNames, Array(numHiddenLayers).keys(), numExperts),
};
