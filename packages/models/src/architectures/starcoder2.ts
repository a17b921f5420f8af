/** StarCoder 2 (https://arxiv.org/abs/2402.19173): rotary grouped-query attention with a window, LayerNorm, a plain MLP, biases everywhere. */
import { add, Dropout, LayerNorm, Linear, Module, type Tensor } from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, parseWith } from "../config/config-source.ts";
import { type DecoderConfig, decoderFields, parseDecoder } from "../config/decoder-config.ts";
import { dropoutRate, positive, size } from "../config/fields.ts";
import { checkUnreadKeys } from "../config/inert-keys.ts";
import { type Activation, activation, ACTIVATION_NAMES, type ActivationName } from "../layers/activations.ts";
import { attendHeads, splitHeads } from "../layers/attend-heads.ts";
import { Decoder, DecoderForCausalLM } from "../modeling/decoder.ts";
import type { LayerContext } from "../modeling/run-layers.ts";
import { applyRotary } from "../rope/apply-rotary.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";

export interface Starcoder2Config extends DecoderConfig {
  readonly hiddenAct: ActivationName;
  readonly layerNormEps: number;
  readonly useBias: boolean;
  readonly embeddingDropout: number;
  readonly residualDropout: number;
  /** Tokens that a token sees, itself included; undefined: all before it. */
  readonly slidingWindow: number | undefined;
}

const configFields = z.object({
  ...decoderFields,
  hidden_act: z.enum(ACTIVATION_NAMES).default("gelu_pytorch_tanh"),
  norm_epsilon: positive.default(1e-5),
  use_bias: z.boolean().default(true),
  embedding_dropout: dropoutRate.default(0),
  residual_dropout: dropoutRate.default(0),
  sliding_window: size.nullable().default(null),
});

export function parseStarcoder2Config(source: ConfigSource): Starcoder2Config {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  return {
    modelType: "starcoder2",
    architecture: "Starcoder2ForCausalLM",
    ...parseDecoder(source, fields, { theta: 10_000, tied: true }),
    hiddenAct: fields.hidden_act,
    layerNormEps: fields.norm_epsilon,
    useBias: fields.use_bias,
    embeddingDropout: fields.embedding_dropout,
    residualDropout: fields.residual_dropout,
    slidingWindow: fields.sliding_window ?? undefined,
  };
}

export class Starcoder2Attention extends Module {
  q_proj: Linear;
  k_proj: Linear;
  v_proj: Linear;
  o_proj: Linear;
  readonly outputDropout: Dropout;
  readonly headDim: number;
  readonly dropout: number;
  readonly window: number | undefined;
  readonly layerIndex: number;

  constructor(config: Starcoder2Config, layerIndex: number, options: ModelOptions) {
    super();
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = config;
    const linear = { ...options, bias: config.useBias };
    this.q_proj = new Linear(hiddenSize, numAttentionHeads * headDim, linear);
    this.k_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.v_proj = new Linear(hiddenSize, numKeyValueHeads * headDim, linear);
    this.o_proj = new Linear(numAttentionHeads * headDim, hiddenSize, linear);
    this.outputDropout = new Dropout(config.residualDropout);
    this.headDim = headDim;
    this.dropout = config.attentionDropout;
    this.window = config.slidingWindow;
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
    return this.outputDropout.forward(this.o_proj.forward(attended));
  }
}

/** Two layers with an activation between. */
export class Starcoder2MLP extends Module {
  c_fc: Linear;
  c_proj: Linear;
  readonly activation: Activation;
  readonly dropout: Dropout;

  constructor(config: Starcoder2Config, options: ModelOptions) {
    super();
    const linear = { ...options, bias: config.useBias };
    this.c_fc = new Linear(config.hiddenSize, config.intermediateSize, linear);
    this.c_proj = new Linear(config.intermediateSize, config.hiddenSize, linear);
    this.activation = activation(config.hiddenAct);
    this.dropout = new Dropout(config.residualDropout);
  }

  forward(x: Tensor): Tensor {
    return this.dropout.forward(this.c_proj.forward(this.activation(this.c_fc.forward(x))));
  }
}

export class Starcoder2DecoderLayer extends Module {
  self_attn: Starcoder2Attention;
  mlp: Starcoder2MLP;
  input_layernorm: LayerNorm;
  post_attention_layernorm: LayerNorm;

  constructor(config: Starcoder2Config, layerIndex: number, options: ModelOptions) {
    super();
    this.self_attn = new Starcoder2Attention(config, layerIndex, options);
    this.mlp = new Starcoder2MLP(config, options);
    const norm = { ...options, eps: config.layerNormEps };
    this.input_layernorm = new LayerNorm(config.hiddenSize, norm);
    this.post_attention_layernorm = new LayerNorm(config.hiddenSize, norm);
  }

  forward(x: Tensor, context: LayerContext): Tensor {
    const attended = add(x, this.self_attn.forward(this.input_layernorm.forward(x), context));
    return add(attended, this.mlp.forward(this.post_attention_layernorm.forward(attended)));
  }
}

export class Starcoder2Model extends Decoder<Starcoder2DecoderLayer> {
  readonly dropout: Dropout;

  constructor(config: Starcoder2Config, options: ModelOptions) {
    const layer = (index: number): Starcoder2DecoderLayer => new Starcoder2DecoderLayer(config, index, options);
    super(config, options, layer, new LayerNorm(config.hiddenSize, { ...options, eps: config.layerNormEps }));
    this.dropout = new Dropout(config.embeddingDropout);
  }

  protected override embed(inputIds: Tensor): Tensor {
    return this.dropout.forward(super.embed(inputIds));
  }
}

export class Starcoder2ForCausalLM extends DecoderForCausalLM<Starcoder2Config, Starcoder2Model> {
  constructor(config: Starcoder2Config, options: ModelOptions) {
    super(config, new Starcoder2Model(config, options), options);
  }
}

export const starcoder2: Architecture<Starcoder2Config> = {
  name: "Starcoder2ForCausalLM",
  modelType: "starcoder2",
  parseConfig: parseStarcoder2Config,
  create: (config, options) => new Starcoder2ForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
};
