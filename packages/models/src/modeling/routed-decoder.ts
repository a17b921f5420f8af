/** The frame of decoders whose layers have routers: as that of other decoders, with the router loss in the loss. */
import { Embedding, Linear, Module, type Tensor } from "@fms-accel/tensor";

import type { ModelOptions } from "../architectures/architecture.ts";
import type { DecoderConfig } from "../config/decoder-config.ts";
import { causalLMOutput } from "../layers/language-model-head.ts";
import { routerLoss, type RouterLossConfig } from "../layers/router-loss.ts";
import { sequenceLayout } from "../layers/sequence-layout.ts";
import { RotaryEmbedding } from "../rope/rotary-embedding.ts";
import { CausalLM, type CausalLMInputs, type CausalLMOutput, type TiedWeight } from "./causal-lm.ts";
import type { Norm } from "./decoder.ts";
import { type RoutedDecoderLayer, type RoutedHidden, runRoutedLayers } from "./run-routed-layers.ts";

/** The decoder without its head. Architectures extend it and override what they do otherwise. */
export class RoutedDecoder<L extends RoutedDecoderLayer = RoutedDecoderLayer> extends Module {
  embed_tokens: Embedding;
  layers: L[];
  norm: Norm;
  readonly rotary: RotaryEmbedding;

  constructor(config: DecoderConfig, options: ModelOptions, layer: (index: number) => L, norm: Norm) {
    super();
    const { vocabSize, hiddenSize, paddingIdx } = config;
    this.embed_tokens = new Embedding(vocabSize, hiddenSize, { ...options, paddingIdx });
    this.layers = Array.from({ length: config.numHiddenLayers }, (_, index) => layer(index));
    this.norm = norm;
    this.rotary = new RotaryEmbedding(config.rope, config.rotaryDim);
  }

  /** @returns hidden states after the last norm, `[B, T, hidden]`, and router logits */
  forward(inputs: CausalLMInputs, gradientCheckpointing: boolean): RoutedHidden {
    const { positionIds, keyMask, sequenceIds } = sequenceLayout(inputs);
    const embedded = this.embed(inputs.inputIds);
    const context = {
      phases: this.rotary.forward(positionIds, embedded.dtype),
      keyMask,
      querySegments: sequenceIds,
      keySegments: sequenceIds,
      cache: inputs.cache,
    };
    const { hidden, routerLogits } = runRoutedLayers(this.layers, embedded, context, gradientCheckpointing);
    return { hidden: this.norm.forward(hidden), routerLogits };
  }

  /** What goes into the first layer. */
  protected embed(inputIds: Tensor): Tensor {
    return this.embed_tokens.forward(inputIds);
  }
}

/** A decoder with routers and its head, which may be the embedding once more. */
export class RoutedDecoderForCausalLM<
  C extends DecoderConfig & RouterLossConfig,
  M extends RoutedDecoder,
> extends CausalLM<C> {
  model: M;
  lm_head: Linear;

  constructor(config: C, model: M, options: ModelOptions) {
    super(config);
    this.model = model;
    this.lm_head = new Linear(config.hiddenSize, config.vocabSize, { ...options, bias: false });
    if (config.tieWordEmbeddings) {
      this.lm_head.weight.dispose();
      this.lm_head.weight = this.model.embed_tokens.weight;
    }
  }

  override forward(inputs: CausalLMInputs): CausalLMOutput {
    const { hidden, routerLogits } = this.model.forward(inputs, this.gradientCheckpointing);
    const transform = (logits: Tensor): Tensor => this.transformLogits(logits);
    const auxLoss = routerLoss(routerLogits, this.config, inputs);
    return causalLMOutput(hidden, this.lm_head, this.config.vocabSize, inputs, transform, auxLoss);
  }

  override tiedWeights(): readonly TiedWeight[] {
    return this.config.tieWordEmbeddings ? [["model.embed_tokens.weight", "lm_head.weight"]] : [];
  }

  /** What the architecture does to logits; rows must stay independent of each other. */
  protected transformLogits(logits: Tensor): Tensor {
    return logits;
  }
}
