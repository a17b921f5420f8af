/** The frame of decoders with rotary positions: embedding, layers, last norm; and the head on top. */
import { type DType, Embedding, Linear, Module, type Tensor } from "@fms-accel/tensor";

import type { ModelOptions } from "../architectures/architecture.ts";
import type { DecoderConfig } from "../config/decoder-config.ts";
import { causalLMOutput } from "../layers/language-model-head.ts";
import { sequenceLayout } from "../layers/sequence-layout.ts";
import { equivalentLength } from "../rope/frequencies.ts";
import { type Positions, RotaryEmbedding } from "../rope/rotary-embedding.ts";
import { Backbone } from "./backbone.ts";
import { CausalLM, type CausalLMInputs, type CausalLMOutput, type TiedWeight } from "./causal-lm.ts";
import type { AttentionContext } from "./attention-context.ts";
import { type DecoderLayer, type LayerContext, runLayers } from "./run-layers.ts";

/** A normalisation over the last dimension. */
export interface Norm extends Module {
  forward(x: Tensor): Tensor;
}

/** The parts of a decoder without its head, and what comes before its layers. How the layers run is the subclass's. */
export abstract class DecoderFrame<L extends Module = Module> extends Backbone {
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

  /** The input of the first layer, and what layers are told besides. */
  protected begin(inputs: CausalLMInputs): {
    embedded: Tensor;
    context: LayerContext | ((layer: number) => LayerContext);
  } {
    const layout = sequenceLayout(inputs);
    const embedded = this.embed(inputs.inputIds);
    return { embedded, context: this.layerContext(layout.context, layout.positions, embedded.dtype) };
  }

  /** What goes into the first layer. */
  protected embed(inputIds: Tensor): Tensor {
    return this.embed_tokens.forward(inputIds);
  }

  /** What layers are told: the same for all, or a function of the layer's index. */
  protected layerContext(
    context: AttentionContext,
    positions: Positions,
    dtype: DType,
  ): LayerContext | ((layer: number) => LayerContext) {
    return { ...context, phases: this.rotary.forward(positions, dtype) };
  }
}

/** The decoder without its head. Architectures extend it and override what they do otherwise. */
export class Decoder<L extends DecoderLayer = DecoderLayer> extends DecoderFrame<L> {
  /** @returns hidden states after the last norm, `[B, T, hidden]` */
  override forward(inputs: CausalLMInputs, gradientCheckpointing: boolean): Tensor {
    const { embedded, context } = this.begin(inputs);
    return this.norm.forward(runLayers(this.layers, embedded, context, gradientCheckpointing));
  }
}

/** A decoder and its head, which may be the embedding once more. */
export abstract class HeadedDecoder<C extends DecoderConfig, M extends DecoderFrame> extends CausalLM<C> {
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

  override tiedWeights(): readonly TiedWeight[] {
    return this.config.tieWordEmbeddings ? [["model.embed_tokens.weight", "lm_head.weight"]] : [];
  }

  override equivalentLength(length: number): number {
    return equivalentLength(this.config.rope, length);
  }

  /** What the architecture does to logits; rows must stay independent of each other. */
  protected transformLogits(logits: Tensor): Tensor {
    return logits;
  }
}

/** The usual decoder with its head. */
export class DecoderForCausalLM<C extends DecoderConfig, M extends Decoder> extends HeadedDecoder<C, M> {
  override forward(inputs: CausalLMInputs): CausalLMOutput {
    const hidden = this.model.forward(inputs, this.gradientCheckpointing);
    return causalLMOutput(hidden, this.lm_head, this.config.vocabSize, inputs, (logits) =>
      this.transformLogits(logits),
    );
  }
}
