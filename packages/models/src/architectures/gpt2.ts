/** GPT-2 (https://openai.com/research/better-language-models): learned positions, LayerNorm before each block, weights stored `[in, out]`. */
import { Dropout, Module, split, type Tensor } from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, parseWith } from "../config/config-source.ts";
import { activationField, gpt2Fields, type Gpt2LikeConfig, parseGpt2Like } from "../config/gpt2-fields.ts";
import { checkUnreadKeys } from "../config/inert-keys.ts";
import { type Activation, activation } from "../layers/activations.ts";
import { attendHeads, splitHeads } from "../layers/attend-heads.ts";
import { Conv1D } from "../layers/conv1d.ts";
import { Gpt2Block, Gpt2Decoder, Gpt2DecoderForCausalLM } from "../modeling/gpt2-decoder.ts";
import type { AttentionContext } from "../modeling/attention-context.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";

export interface GPT2Config extends Gpt2LikeConfig {
  /** Whether scores of layer i are also divided by i + 1. */
  readonly scalesByLayer: boolean;
}

const configFields = z.object({
  ...gpt2Fields,
  activation_function: activationField("gelu_new"),
  scale_attn_by_inverse_layer_idx: z.boolean().default(false),
  reorder_and_upcast_attn: z.literal(false).default(false),
});

export function parseGPT2Config(source: ConfigSource): GPT2Config {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  return {
    modelType: "gpt2",
    architecture: "GPT2LMHeadModel",
    ...parseGpt2Like(source, fields),
    scalesByLayer: fields.scale_attn_by_inverse_layer_idx,
  };
}

export class GPT2Attention extends Module {
  c_attn: Conv1D;
  c_proj: Conv1D;
  resid_dropout: Dropout;
  readonly headDim: number;
  readonly scale: number;
  readonly dropout: number;
  readonly layerIndex: number;

  constructor(config: GPT2Config, layerIndex: number, options: ModelOptions) {
    super();
    const { hiddenSize, headDim } = config;
    this.c_attn = new Conv1D(hiddenSize, 3 * hiddenSize, options);
    this.c_proj = new Conv1D(hiddenSize, hiddenSize, options);
    this.resid_dropout = new Dropout(config.residualDropout);
    this.headDim = headDim;
    this.scale = (config.scalesScores ? headDim ** -0.5 : 1) / (config.scalesByLayer ? layerIndex + 1 : 1);
    this.dropout = config.attentionDropout;
    this.layerIndex = layerIndex;
  }

  /** @param x `[B, T, hidden]` */
  forward(x: Tensor, context: AttentionContext): Tensor {
    const parts = split(this.c_attn.forward(x), x.shape.at(-1)!, -1).map((part) => splitHeads(part, this.headDim));
    const [q, k, v] = parts as [Tensor, Tensor, Tensor];
    const attended = attendHeads(q, k, v, context, {
      layerIndex: this.layerIndex,
      scale: this.scale,
      dropout: this.training ? this.dropout : 0,
    });
    return this.resid_dropout.forward(this.c_proj.forward(attended));
  }
}

/** Two layers with an activation between. */
export class GPT2MLP extends Module {
  c_fc: Conv1D;
  c_proj: Conv1D;
  dropout: Dropout;
  readonly activation: Activation;

  constructor(config: GPT2Config, options: ModelOptions) {
    super();
    this.c_fc = new Conv1D(config.hiddenSize, config.innerSize, options);
    this.c_proj = new Conv1D(config.innerSize, config.hiddenSize, options);
    this.dropout = new Dropout(config.residualDropout);
    this.activation = activation(config.activation);
  }

  forward(x: Tensor): Tensor {
    return this.dropout.forward(this.c_proj.forward(this.activation(this.c_fc.forward(x))));
  }
}

export class GPT2LMHeadModel extends Gpt2DecoderForCausalLM<GPT2Config> {
  constructor(config: GPT2Config, options: ModelOptions) {
    const block = (index: number): Gpt2Block =>
      new Gpt2Block(config, options, new GPT2Attention(config, index, options), new GPT2MLP(config, options));
    super(config, new Gpt2Decoder(config, options, block), options);
  }
}

export const gpt2: Architecture<GPT2Config> = {
  name: "GPT2LMHeadModel",
  modelType: "gpt2",
  parseConfig: parseGPT2Config,
  create: (config, options) => new GPT2LMHeadModel(config, options),
  // The causal mask that older files stored with the weights.
  ignoredTensors: [/\.attn\.(?:masked_)?bias$/],
  // The published files are of the decoder without its head: names have no "transformer." in front.
  tensorMappings: [
    {
      pattern: /^(?:wte|wpe|h|ln_f)\..*/,
      parts: ([name], shape) => [{ name: `transformer.${name}`, shape, take: (whole) => whole }],
    },
  ],
};
