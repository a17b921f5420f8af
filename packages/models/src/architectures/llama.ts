/**
 * Llama (https://arxiv.org/abs/2302.13971, https://arxiv.org/abs/2407.21783): a decoder of pre-normalised layers, each of
 * rotary grouped-query attention and a gated MLP. Field names are those of the checkpoint's tensors.
 */
import { add, Embedding, Linear, Module, mul, reshape, type Tensor, transpose } from "@fms-accel/tensor";
import { z } from "zod";

import { parseHeads, requireEvenHeads } from "../config/attention-heads.ts";
import { type CausalLMConfig, parseCommon, parsePaddingIdx } from "../config/causal-lm-config.ts";
import { type ConfigSource, parseWith } from "../config/config-source.ts";
import { commonFields, dropoutRate, layerCount, positive, size } from "../config/fields.ts";
import { checkUnreadKeys } from "../config/inert-keys.ts";
import { parseRope, ropeFields } from "../config/rope-fields.ts";
import { type Activation, activation, ACTIVATION_NAMES, type ActivationName } from "../layers/activations.ts";
import { causalAttention } from "../layers/attention.ts";
import { causalLMOutput } from "../layers/language-model-head.ts";
import { RMSNorm } from "../layers/rms-norm.ts";
import { sequenceLayout } from "../layers/sequence-layout.ts";
import { CausalLM, type CausalLMInputs, type CausalLMOutput, type TiedWeight } from "../modeling/causal-lm.ts";
import { type LayerContext, runLayers } from "../modeling/run-layers.ts";
import { applyRotary } from "../rope/apply-rotary.ts";
import { RotaryEmbedding } from "../rope/rotary-embedding.ts";
import type { RopeParameters } from "../rope/rope-parameters.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";

export interface LlamaConfig extends CausalLMConfig {
  readonly intermediateSize: number;
  readonly hiddenAct: ActivationName;
  readonly rmsNormEps: number;
  readonly attentionBias: boolean;
  readonly attentionDropout: number;
  readonly mlpBias: boolean;
  readonly rope: RopeParameters;
}

const configFields = z.object({
  ...commonFields,
  ...ropeFields,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: layerCount,
  num_attention_heads: size,
  num_key_value_heads: size.nullable().optional(),
  head_dim: size.nullable().optional(),
  hidden_act: z.enum(ACTIVATION_NAMES),
  max_position_embeddings: size,
  rms_norm_eps: positive,
  attention_bias: z.boolean().default(false),
  attention_dropout: dropoutRate.nullable().default(0),
  mlp_bias: z.boolean().default(false),
  partial_rotary_factor: z.literal(1).nullable().optional(),
});

/** Reads a Llama config.json. Keys that older files lack have Hugging Face's defaults; sizes have none. */
export function parseLlamaConfig(source: ConfigSource): LlamaConfig {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  const heads = parseHeads(source, fields);
  requireEvenHeads(source, heads.headDim);
  return {
    modelType: "llama",
    architecture: "LlamaForCausalLM",
    ...parseCommon(source, fields),
    ...heads,
    hiddenSize: fields.hidden_size,
    intermediateSize: fields.intermediate_size,
    numHiddenLayers: fields.num_hidden_layers,
    hiddenAct: fields.hidden_act,
    maxPositionEmbeddings: fields.max_position_embeddings,
    rmsNormEps: fields.rms_norm_eps,
    attentionBias: fields.attention_bias,
    attentionDropout: fields.attention_dropout ?? 0,
    mlpBias: fields.mlp_bias,
    tieWordEmbeddings: fields.tie_word_embeddings ?? false,
    paddingIdx: parsePaddingIdx(source, fields.pad_token_id, fields.vocab_size),
    rope: parseRope(source, fields, {
      maxPositionEmbeddings: fields.max_position_embeddings,
      rotaryDim: heads.headDim,
      defaultTheta: 10_000,
    }),
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
  forward(x: Tensor, { phases, cache, ...visible }: LayerContext): Tensor {
    const [batch, length] = x.shape as [number, number, number];
    const heads = (projected: Tensor): Tensor => reshape(projected, [batch, length, -1, this.headDim]);
    const rotated = applyRotary(heads(this.q_proj.forward(x)), heads(this.k_proj.forward(x)), phases.cos, phases.sin);
    const q = transpose(rotated.q, 1, 2);
    let k = transpose(rotated.k, 1, 2);
    let v = transpose(heads(this.v_proj.forward(x)), 1, 2);
    if (cache !== undefined) {
      ({ keys: k, values: v } = cache.update(this.layerIndex, k, v));
    }
    const attended = causalAttention(q, k, v, {
      scale: this.headDim ** -0.5,
      dropout: this.training ? this.dropout : 0,
      ...visible,
    });
    return this.o_proj.forward(reshape(transpose(attended, 1, 2), [batch, length, -1]));
  }
}

/** Gated MLP: down(act(gate(x)) · up(x)). */
export class LlamaMLP extends Module {
  gate_proj: Linear;
  up_proj: Linear;
  down_proj: Linear;
  readonly activation: Activation;

  constructor(config: LlamaConfig, options: ModelOptions) {
    super();
    const linear = { ...options, bias: config.mlpBias };
    this.gate_proj = new Linear(config.hiddenSize, config.intermediateSize, linear);
    this.up_proj = new Linear(config.hiddenSize, config.intermediateSize, linear);
    this.down_proj = new Linear(config.intermediateSize, config.hiddenSize, linear);
    this.activation = activation(config.hiddenAct);
  }

  forward(x: Tensor): Tensor {
    return this.down_proj.forward(mul(this.activation(this.gate_proj.forward(x)), this.up_proj.forward(x)));
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
export class LlamaModel extends Module {
  embed_tokens: Embedding;
  layers: LlamaDecoderLayer[];
  norm: RMSNorm;
  readonly rotary: RotaryEmbedding;

  constructor(config: LlamaConfig, options: ModelOptions) {
    super();
    const { vocabSize, hiddenSize, paddingIdx } = config;
    this.embed_tokens = new Embedding(vocabSize, hiddenSize, { ...options, paddingIdx });
    this.layers = Array.from(
      { length: config.numHiddenLayers },
      (_, index) => new LlamaDecoderLayer(config, index, options),
    );
    this.norm = new RMSNorm(hiddenSize, config.rmsNormEps, options);
    this.rotary = new RotaryEmbedding(config.rope, config.headDim);
  }

  /** @returns hidden states after the last norm, `[B, T, hidden]` */
  forward(inputs: CausalLMInputs, gradientCheckpointing: boolean): Tensor {
    const { positionIds, keyMask, sequenceIds } = sequenceLayout(inputs);
    const embedded = this.embed_tokens.forward(inputs.inputIds);
    const context: LayerContext = {
      phases: this.rotary.forward(positionIds, embedded.dtype),
      keyMask,
      querySegments: sequenceIds,
      keySegments: sequenceIds,
      cache: inputs.cache,
    };
    return this.norm.forward(runLayers(this.layers, embedded, context, gradientCheckpointing));
  }
}

export class LlamaForCausalLM extends CausalLM<LlamaConfig> {
  model: LlamaModel;
  lm_head: Linear;

  constructor(config: LlamaConfig, options: ModelOptions) {
    super(config);
    this.model = new LlamaModel(config, options);
    this.lm_head = new Linear(config.hiddenSize, config.vocabSize, { ...options, bias: false });
    if (config.tieWordEmbeddings) {
      this.lm_head.weight = this.model.embed_tokens.weight;
    }
  }

  override forward(inputs: CausalLMInputs): CausalLMOutput {
    const hidden = this.model.forward(inputs, this.gradientCheckpointing);
    return causalLMOutput(hidden, this.lm_head, this.config.vocabSize, inputs);
  }

  override tiedWeights(): readonly TiedWeight[] {
    return this.config.tieWordEmbeddings ? [["model.embed_tokens.weight", "lm_head.weight"]] : [];
  }
}

export const llama: Architecture<LlamaConfig> = {
  name: "LlamaForCausalLM",
  modelType: "llama",
  parseConfig: parseLlamaConfig,
  create: (config, options) => new LlamaForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
};
