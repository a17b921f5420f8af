/** Phi-3 (https://arxiv.org/abs/2404.14219): Llama's layers with fused projections; a part of each head may stay without rotation. */
import { add, Dropout, Linear, Module, split, type Tensor } from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, parseWith } from "../config/config-source.ts";
import { type DecoderConfig, decoderFields, parseDecoder } from "../config/decoder-config.ts";
import { dropoutRate, positive, size } from "../config/fields.ts";
import { parsePartialRotaryFactor } from "../config/partial-rotary-factor.ts";
import { checkUnreadKeys } from "../config/inert-keys.ts";
import { type Activation, activation, ACTIVATION_NAMES, type ActivationName, gated } from "../layers/activations.ts";
import { attendHeads, splitHeads } from "../layers/attend-heads.ts";
import { RMSNorm } from "../layers/rms-norm.ts";
import { Decoder, DecoderForCausalLM } from "../modeling/decoder.ts";
import type { LayerContext } from "../modeling/run-layers.ts";
import { applyPartialRotary } from "../rope/apply-partial-rotary.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";

export interface Phi3Config extends DecoderConfig {
  readonly hiddenAct: ActivationName;
  readonly rmsNormEps: number;
  /** Probability of dropping a value of what attention and MLP add, in training. */
  readonly residualDropout: number;
  /** Tokens that a token sees, itself included; undefined: all before it. */
  readonly slidingWindow: number | undefined;
}

const configFields = z.object({
  ...decoderFields,
  hidden_act: z.enum(ACTIVATION_NAMES).default("silu"),
  rms_norm_eps: positive.default(1e-5),
  sliding_window: size.nullable().default(null),
  partial_rotary_factor: positive.max(1).nullable().optional(),
  resid_pdrop: dropoutRate.default(0),
  /** Read by no implementation of the model. */
  embd_pdrop: z.literal(0).default(0),
});

/** The first files call LongRoPE "su", or "yarn", which it is not. */
const FIRST_NAMES: readonly unknown[] = ["su", "yarn"];

function renameRope(section: Record<string, unknown> | null | undefined): Record<string, unknown> | null | undefined {
  const entries = Object.entries(section ?? {}).map(([key, value]) => {
    const isName = (key === "type" || key === "rope_type") && FIRST_NAMES.includes(value);
    return [key, isName ? "longrope" : value] as const;
  });
  return section && Object.fromEntries(entries);
}

export function parsePhi3Config(source: ConfigSource): Phi3Config {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const written = parseWith(source, configFields, source.json);
  const fields = {
    ...written,
    rope_scaling: renameRope(written.rope_scaling),
    rope_parameters: renameRope(written.rope_parameters),
  };
  return {
    modelType: "phi3",
    architecture: "Phi3ForCausalLM",
    ...parseDecoder(source, fields, {
      theta: 10_000,
      tied: false,
      partialRotaryFactor: parsePartialRotaryFactor(source, fields, 1),
    }),
    hiddenAct: fields.hidden_act,
    rmsNormEps: fields.rms_norm_eps,
    residualDropout: fields.resid_pdrop,
    slidingWindow: fields.sliding_window ?? undefined,
  };
}

export class Phi3Attention extends Module {
  qkv_proj: Linear;
  o_proj: Linear;
  readonly widths: readonly number[];
  readonly headDim: number;
  readonly dropout: number;
  readonly window: number | undefined;
  readonly layerIndex: number;

  constructor(config: Phi3Config, layerIndex: number, options: ModelOptions) {
    super();
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = config;
    const linear = { ...options, bias: false };
    // Rows of the fused weight: all queries, all keys, all values.
    this.widths = [numAttentionHeads, numKeyValueHeads, numKeyValueHeads].map((heads) => heads * headDim);
    this.qkv_proj = new Linear(hiddenSize, (numAttentionHeads + 2 * numKeyValueHeads) * headDim, linear);
    this.o_proj = new Linear(numAttentionHeads * headDim, hiddenSize, linear);
    this.headDim = headDim;
    this.dropout = config.attentionDropout;
    this.window = config.slidingWindow;
    this.layerIndex = layerIndex;
  }

  /** @param x `[B, T, hidden]` */
  forward(x: Tensor, context: LayerContext): Tensor {
    const heads = split(this.qkv_proj.forward(x), this.widths, -1).map((part) => splitHeads(part, this.headDim));
    const [queries, keys, values] = heads as [Tensor, Tensor, Tensor];
    const { cos, sin } = context.phases;
    const { q, k } = applyPartialRotary(queries, keys, cos, sin);
    const attended = attendHeads(q, k, values, context, {
      layerIndex: this.layerIndex,
      scale: this.headDim ** -0.5,
      dropout: this.training ? this.dropout : 0,
      window: this.window,
    });
    return this.o_proj.forward(attended);
  }
}

/** Gated MLP of which the two outer projections are one: the gate's rows first. */
export class Phi3MLP extends Module {
  gate_up_proj: Linear;
  down_proj: Linear;
  readonly activation: Activation;

  constructor({ hiddenSize, intermediateSize, hiddenAct }: Phi3Config, options: ModelOptions) {
    super();
    const linear = { ...options, bias: false };
    this.gate_up_proj = new Linear(hiddenSize, 2 * intermediateSize, linear);
    this.down_proj = new Linear(intermediateSize, hiddenSize, linear);
    this.activation = activation(hiddenAct);
  }

  forward(x: Tensor): Tensor {
    const both = this.gate_up_proj.forward(x);
    const [gate, up] = split(both, both.shape.at(-1)! / 2, -1) as [Tensor, Tensor];
    return this.down_proj.forward(gated(this.activation, gate, up));
  }
}

export class Phi3DecoderLayer extends Module {
  self_attn: Phi3Attention;
  mlp: Phi3MLP;
  input_layernorm: RMSNorm;
  post_attention_layernorm: RMSNorm;
  readonly dropout: Dropout;

  constructor(config: Phi3Config, layerIndex: number, options: ModelOptions) {
    super();
    this.self_attn = new Phi3Attention(config, layerIndex, options);
    this.mlp = new Phi3MLP(config, options);
    this.input_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
    this.post_attention_layernorm = new RMSNorm(config.hiddenSize, config.rmsNormEps, options);
    this.dropout = new Dropout(config.residualDropout);
  }

  forward(x: Tensor, context: LayerContext): Tensor {
    const branch = this.self_attn.forward(this.input_layernorm.forward(x), context);
    const attended = add(x, this.dropout.forward(branch));
    return add(attended, this.dropout.forward(this.mlp.forward(this.post_attention_layernorm.forward(attended))));
  }
}

export class Phi3Model extends Decoder<Phi3DecoderLayer> {
  constructor(config: Phi3Config, options: ModelOptions) {
    const layer = (index: number): Phi3DecoderLayer => new Phi3DecoderLayer(config, index, options);
    super(config, options, layer, new RMSNorm(config.hiddenSize, config.rmsNormEps, options));
  }
}

export class Phi3ForCausalLM extends DecoderForCausalLM<Phi3Config, Phi3Model> {
  constructor(config: Phi3Config, options: ModelOptions) {
    super(config, new Phi3Model(config, options), options);
  }
}

export const phi3: Architecture<Phi3Config> = {
  name: "Phi3ForCausalLM",
  modelType: "phi3",
  parseConfig: parsePhi3Config,
  create: (config, options) => new Phi3ForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
};
