/**
 * GraniteMoE (https://arxiv.org/abs/2408.13359, Granite 3.0 1B-A400M and 3B-A800M): Granite's layers with a mixture of experts in place of
 * the MLP. The weights of all experts of a layer lie in one parameter.
 */
import {
  add,
  cast,
  div,
  empty,
  type Generator,
  groupedLinear,
  Linear,
  Module,
  mul,
  Parameter,
  reshape,
  type RowGroups,
  softmax,
  split,
  type Tensor,
  topk,
} from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, parseWith } from "../config/config-source.ts";
import { decoderFields, parseDecoder } from "../config/decoder-config.ts";
import { expertFields, type ExpertsConfig, parseExperts } from "../config/expert-fields.ts";
import { multiplier, positive } from "../config/fields.ts";
import { checkUnreadKeys } from "../config/inert-keys.ts";
import { ACTIVATION_NAMES, type Activation, activation, type ActivationName, gated } from "../layers/activations.ts";
import { mixtureOfExperts, type Routing } from "../layers/experts.ts";
import { RMSNorm } from "../layers/rms-norm.ts";
import { fillNormal, type SelfInitialising } from "../modeling/initialise.ts";
import { RoutedDecoder, RoutedDecoderForCausalLM } from "../modeling/routed-decoder.ts";
import type { LayerContext } from "../modeling/run-layers.ts";
import type { Architecture, FusedParameter, ModelOptions } from "./architecture.ts";
import { GraniteAttention, type GraniteConfig } from "./granite.ts";

export interface GraniteMoeConfig extends GraniteConfig, ExpertsConfig {}

/** Keys of config.json. */
export const graniteMoeFields: typeof decoderFields &
  typeof expertFields & {
    readonly hidden_act: z.ZodDefault<z.ZodType<ActivationName>>;
    readonly rms_norm_eps: z.ZodDefault<z.ZodNumber>;
    readonly attention_bias: z.ZodDefault<z.ZodBoolean>;
    readonly embedding_multiplier: z.ZodDefault<z.ZodNumber>;
    readonly attention_multiplier: z.ZodDefault<z.ZodNumber>;
    readonly residual_multiplier: z.ZodDefault<z.ZodNumber>;
    readonly logits_scaling: z.ZodDefault<z.ZodNumber>;
  } = {
  ...decoderFields,
  ...expertFields,
  hidden_act: z.enum(ACTIVATION_NAMES).default("silu"),
  rms_norm_eps: positive.default(1e-6),
  attention_bias: z.boolean().default(false),
  embedding_multiplier: multiplier.default(1),
  attention_multiplier: multiplier.default(1),
  residual_multiplier: multiplier.default(1),
  logits_scaling: positive.default(1),
};

/** Everything of a GraniteMoeConfig but its name. */
export function parseGraniteMoeFields(
  source: ConfigSource,
  fields: z.output<z.ZodObject<typeof graniteMoeFields>>,
): Omit<GraniteMoeConfig, "modelType" | "architecture"> {
  return {
    ...parseDecoder(source, fields, { theta: 10_000, tied: false }),
    ...parseExperts(source, fields),
    hiddenAct: fields.hidden_act,
    rmsNormEps: fields.rms_norm_eps,
    attentionBias: fields.attention_bias,
    mlpBias: false,
    embeddingMultiplier: fields.embedding_multiplier,
    attentionMultiplier: fields.attention_multiplier,
    residualMultiplier: fields.residual_multiplier,
    logitsScaling: fields.logits_scaling,
  };
}

export function parseGraniteMoeConfig(source: ConfigSource): GraniteMoeConfig {
  checkUnreadKeys(source, Object.keys(graniteMoeFields));
  const fields = parseWith(source, z.object(graniteMoeFields), source.json);
  return {
    modelType: "granitemoe",
    architecture: "GraniteMoeForCausalLM",
    ...parseGraniteMoeFields(source, fields),
  };
}

/** One Linear without bias for every expert, their weights in one parameter `[experts, out, in]`. */
export class GraniteMoeParallelExperts extends Module implements SelfInitialising {
  weight: Parameter;

  constructor(numExperts: number, inFeatures: number, outFeatures: number, options: ModelOptions) {
    super();
    this.weight = new Parameter(empty([numExperts, outFeatures, inFeatures], options));
  }

  initialiseParameters(range: number, generator: Generator): void {
    fillNormal(this.weight, range, generator);
  }

  /** Rows `[n, in]` in the order of their experts → `[n, out]`. */
  forward(rows: Tensor, groups: RowGroups): Tensor {
    return groupedLinear(rows, this.weight, groups);
  }
}

export class GraniteMoeRouter extends Module {
  layer: Linear;

  constructor(config: GraniteMoeConfig, options: ModelOptions) {
    super();
    this.layer = new Linear(config.hiddenSize, config.numExperts, { ...options, bias: false });
  }
}

/** Experts output(act(gate) · up), where input gives gate and up side by side. */
export class GraniteMoeMoE extends Module {
  input_linear: GraniteMoeParallelExperts;
  output_linear: GraniteMoeParallelExperts;
  router: GraniteMoeRouter;
  readonly activation: Activation;
  readonly numExperts: number;
  readonly numExpertsPerToken: number;

  constructor(config: GraniteMoeConfig, options: ModelOptions) {
    super();
    const { numExperts, hiddenSize, intermediateSize } = config;
    this.input_linear = new GraniteMoeParallelExperts(numExperts, hiddenSize, 2 * intermediateSize, options);
    this.output_linear = new GraniteMoeParallelExperts(numExperts, intermediateSize, hiddenSize, options);
    this.router = new GraniteMoeRouter(config, options);
    this.activation = activation(config.hiddenAct);
    this.numExperts = numExperts;
    this.numExpertsPerToken = config.numExpertsPerToken;
  }

  /** @param x `[B, T, hidden]` @returns the same shape, and router logits `[B·T, experts]` in float32 */
  forward(x: Tensor): [output: Tensor, routerLogits: Tensor] {
    const tokens = reshape(x, [-1, x.shape.at(-1)!]);
    const routerLogits = cast(this.router.layer.forward(tokens), "float32");
    const experts = (rows: Tensor, groups: RowGroups): Tensor => {
      const both = this.input_linear.forward(rows, groups);
      const [gate, up] = split(both, both.shape[1]! / 2, 1) as [Tensor, Tensor];
      return this.output_linear.forward(gated(this.activation, gate, up), groups);
    };
    const routing = this.#route(routerLogits, tokens);
    const output = mixtureOfExperts(tokens, routing, this.numExperts, experts);
    return [reshape(output, x.shape), routerLogits];
  }

  /** The experts of the k largest logits; their weights are a softmax of these logits alone, rounded to the model's dtype. */
  #route(routerLogits: Tensor, tokens: Tensor): Routing {
    const { values, indices } = topk(routerLogits, this.numExpertsPerToken, -1);
    return { experts: indices, weights: cast(softmax(values, -1), tokens.dtype) };
  }
}

export class GraniteMoeDecoderLayer extends Module {
  self_attn: GraniteAttention;
  block_sparse_moe: GraniteMoeMoE;
  input_layernorm: RMSNorm;
  post_attention_layernorm: RMSNorm;
  readonly residualMultiplier: number;

  constructor(config: GraniteMoeConfig, layerIndex: number, options: ModelOptions) {
    super();
    this.self_attn = new GraniteAttention(config, layerIndex, options);
    this.block_sparse_moe = new GraniteMoeMoE(config, options);
    this.input_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
    this.post_attention_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
    this.residualMultiplier = config.residualMultiplier;
  }

  forward(x: Tensor, context: LayerContext): Tensor[] {
    const attended = this.#residual(x, this.self_attn.forward(this.input_layernorm.forward(x), context));
    const [mixed, routerLogits] = this.feedForward(this.post_attention_layernorm.forward(attended));
    return [this.#residual(attended, mixed), routerLogits];
  }

  protected feedForward(x: Tensor): [output: Tensor, routerLogits: Tensor] {
    return this.block_sparse_moe.forward(x);
  }

  #residual(x: Tensor, branch: Tensor): Tensor {
    return add(x, mul(branch, this.residualMultiplier));
  }
}

export class GraniteMoeModel<L extends GraniteMoeDecoderLayer = GraniteMoeDecoderLayer> extends RoutedDecoder<L> {
  readonly embeddingMultiplier: number;

  constructor(config: GraniteMoeConfig, options: ModelOptions, layer: (index: number) => L) {
    super(config, options, layer, new RMSNorm(config.hiddenSize, config.rmsNormEps, options));
    this.embeddingMultiplier = config.embeddingMultiplier;
  }

  protected override embed(inputIds: Tensor): Tensor {
    return mul(super.embed(inputIds), this.embeddingMultiplier);
  }
}

export class GraniteMoeForCausalLM extends RoutedDecoderForCausalLM<GraniteMoeConfig, GraniteMoeModel> {
  constructor(config: GraniteMoeConfig, options: ModelOptions) {
    const layer = (index: number): GraniteMoeDecoderLayer => new GraniteMoeDecoderLayer(config, index, options);
    super(config, new GraniteMoeModel(config, options, layer), options);
  }

  protected override transformLogits(logits: Tensor): Tensor {
    return div(logits, this.config.logitsScaling);
  }
}

/** The names of transformers 5; the parallel experts are `input_linear.experts.N` once they are adapted. */
export function graniteMoeFusedParameters({
  numHiddenLayers,
  numExperts,
}: GraniteMoeConfig): readonly FusedParameter[] {
  return Array.from({ length: numHiddenLayers }, (_, layer) => {
    const block = `model.layers.${layer}.block_sparse_moe`;
    const fuse = (name: string, field: string): FusedParameter => ({
      module: `${block}.experts`,
      name,
      matrices: Array.from({ length: numExperts }, (__, expert) => [`${block}.${field}.experts.${expert}`]),
    });
    return [
      { module: `${block}.router`, name: "weight", matrices: [[`${block}.router.layer`]] },
      fuse("gate_up_proj", "input_linear"),
      fuse("down_proj", "output_linear"),
    ];
  }).flat();
}

export const graniteMoe: Architecture<GraniteMoeConfig> = {
  name: "GraniteMoeForCausalLM",
  modelType: "granitemoe",
  parseConfig: parseGraniteMoeConfig,
  create: (config, options) => new GraniteMoeForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
  fusedParameters: graniteMoeFusedParameters,
};
