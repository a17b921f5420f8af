/** GPTBigCode (SantaCoder https://arxiv.org/abs/2301.03988, StarCoder https://arxiv.org/abs/2305.06161): GPT-2 with one key/value head for all query heads. */
import { Dropout, Linear, Module, split, type Tensor } from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, configError, parseWith } from "../config/config-source.ts";
import { size } from "../config/fields.ts";
import { activationField, gpt2Fields, type Gpt2LikeConfig, parseGpt2Like } from "../config/gpt2-fields.ts";
import { checkUnreadKeys } from "../config/inert-keys.ts";
import { type Activation, activation } from "../layers/activations.ts";
import { attendHeads, splitHeads } from "../layers/attend-heads.ts";
import { Gpt2Block, Gpt2Decoder, Gpt2DecoderForCausalLM } from "../modeling/gpt2-decoder.ts";
import type { AttentionContext } from "../modeling/attention-context.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";

export interface GPTBigCodeConfig extends Gpt2LikeConfig {
  /** One key/value head for all query heads, or one for each. */
  readonly multiQuery: boolean;
}

const configFields = z.object({
  ...gpt2Fields,
  activation_function: activationField("gelu_pytorch_tanh"),
  multi_query: z.boolean().default(true),
  /** What transformers 5 writes beside multi_query; it follows from it. */
  num_key_value_heads: size.optional(),
  attention_softmax_in_fp32: z.literal(true).default(true),
  scale_attention_softmax_in_fp32: z.literal(true).default(true),
  // Settings of the server that BigCode ran the model with.
  inference_runner: z.unknown().optional(),
  max_batch_size: z.unknown().optional(),
  pad_key_length: z.unknown().optional(),
  pre_allocate_kv_cache: z.unknown().optional(),
  validate_runner_input: z.unknown().optional(),
});

export function parseGPTBigCodeConfig(source: ConfigSource): GPTBigCodeConfig {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  const keyValueHeads = fields.multi_query ? 1 : fields.n_head;
  if (fields.num_key_value_heads !== undefined && fields.num_key_value_heads !== keyValueHeads) {
    throw configError(
      source,
      ["num_key_value_heads"],
      `expected ${keyValueHeads}, as multi_query (${fields.multi_query}) says, found ${fields.num_key_value_heads}`,
    );
  }
  return {
    modelType: "gpt_bigcode",
    architecture: "GPTBigCodeForCausalLM",
    ...parseGpt2Like(source, fields, keyValueHeads),
    multiQuery: fields.multi_query,
  };
}

/** Attention with queries, keys and values from one projection. */
export class GPTBigCodeAttention extends Module {
  c_attn: Linear;
  c_proj: Linear;
  resid_dropout: Dropout;
  readonly multiQuery: boolean;
  readonly headDim: number;
  readonly scale: number;
  readonly dropout: number;
  readonly layerIndex: number;

  constructor(config: GPTBigCodeConfig, layerIndex: number, options: ModelOptions) {
    super();
    const { hiddenSize, numKeyValueHeads, headDim } = config;
    this.c_attn = new Linear(hiddenSize, hiddenSize + 2 * numKeyValueHeads * headDim, options);
    this.c_proj = new Linear(hiddenSize, hiddenSize, options);
    this.resid_dropout = new Dropout(config.residualDropout);
    this.multiQuery = config.multiQuery;
    this.headDim = headDim;
    this.scale = config.scalesScores ? headDim ** -0.5 : 1;
    this.dropout = config.attentionDropout;
    this.layerIndex = layerIndex;
  }

  /** @param x `[B, T, hidden]` */
  forward(x: Tensor, context: AttentionContext): Tensor {
    const [q, k, v] = this.#heads(this.c_attn.forward(x), x.shape.at(-1)!);
    const attended = attendHeads(q!, k!, v!, context, {
      layerIndex: this.layerIndex,
      scale: this.scale,
      dropout: this.training ? this.dropout : 0,
    });
    return this.resid_dropout.forward(this.c_proj.forward(attended));
  }

  /** With one key/value head: all queries, the key, the value. With many: query, key and value of each head side by side. */
  #heads(projected: Tensor, hidden: number): Tensor[] {
    return this.multiQuery
      ? split(projected, [hidden, this.headDim, this.headDim], -1).map((part) => splitHeads(part, this.headDim))
      : split(splitHeads(projected, 3 * this.headDim), this.headDim, -1);
  }
}

/** Two layers with an activation between. */
export class GPTBigCodeMLP extends Module {
  c_fc: Linear;
  c_proj: Linear;
  dropout: Dropout;
  readonly activation: Activation;

  constructor(config: GPTBigCodeConfig, options: ModelOptions) {
    super();
    this.c_fc = new Linear(config.hiddenSize, config.innerSize, options);
    this.c_proj = new Linear(config.innerSize, config.hiddenSize, options);
    this.dropout = new Dropout(config.residualDropout);
    this.activation = activation(config.activation);
  }

  forward(x: Tensor): Tensor {
    return this.dropout.forward(this.c_proj.forward(this.activation(this.c_fc.forward(x))));
  }
}

export class GPTBigCodeForCausalLM extends Gpt2DecoderForCausalLM<GPTBigCodeConfig> {
  constructor(config: GPTBigCodeConfig, options: ModelOptions) {
    const block = (index: number): Gpt2Block =>
      new Gpt2Block(
        config,
        options,
        new GPTBigCodeAttention(config, index, options),
        new GPTBigCodeMLP(config, options),
      );
    super(config, new Gpt2Decoder(config, options, block), options);
  }
}

export const gptBigCode: Architecture<GPTBigCodeConfig> = {
  name: "GPTBigCodeForCausalLM",
  modelType: "gpt_bigcode",
  parseConfig: parseGPTBigCodeConfig,
  create: (config, options) => new GPTBigCodeForCausalLM(config, options),
  // The causal mask that older files stored with the weights.
  ignoredTensors: [/\.attn\.(?:masked_)?bias$/],
};
