/** The frame of GPT-2 and its descendants: token and position embeddings, pre-normalised blocks, a last norm, a tied head. */
import { add, Dropout, Embedding, LayerNorm, Linear, Module, type Tensor } from "@fms-accel/tensor";

import type { ModelOptions } from "../architectures/architecture.ts";
import type { Gpt2LikeConfig } from "../config/gpt2-fields.ts";
import { ModelInputError } from "../errors.ts";
import { causalLMOutput } from "../layers/language-model-head.ts";
import { sequenceLayout } from "../layers/sequence-layout.ts";
import { Backbone } from "./backbone.ts";
import { CausalLM, type CausalLMInputs, type CausalLMOutput, type TiedWeight } from "./causal-lm.ts";
import type { AttentionContext } from "./attention-context.ts";
import { runLayers } from "./run-layers.ts";

/** What a block attends with: `[B, T, H]` to `[B, T, H]`. */
export interface Gpt2Attention extends Module {
  forward(x: Tensor, context: AttentionContext): Tensor;
}

/** What a block computes token by token. */
export interface Gpt2MLP extends Module {
  forward(x: Tensor): Tensor;
}

export class Gpt2Block extends Module {
  ln_1: LayerNorm;
  attn: Gpt2Attention;
  ln_2: LayerNorm;
  mlp: Gpt2MLP;

  constructor(config: Gpt2LikeConfig, options: ModelOptions, attn: Gpt2Attention, mlp: Gpt2MLP) {
    super();
    this.ln_1 = new LayerNorm(config.hiddenSize, { ...options, eps: config.layerNormEps });
    this.attn = attn;
    this.ln_2 = new LayerNorm(config.hiddenSize, { ...options, eps: config.layerNormEps });
    this.mlp = mlp;
  }

  forward(x: Tensor, context: AttentionContext): Tensor {
    const attended = add(x, this.attn.forward(this.ln_1.forward(x), context));
    return add(attended, this.mlp.forward(this.ln_2.forward(attended)));
  }
}

/** The decoder without its head. */
export class Gpt2Decoder extends Backbone {
  wte: Embedding;
  wpe: Embedding;
  drop: Dropout;
  h: Gpt2Block[];
  ln_f: LayerNorm;

  constructor(config: Gpt2LikeConfig, options: ModelOptions, block: (index: number) => Gpt2Block) {
    super();
    const { vocabSize, hiddenSize, maxPositionEmbeddings } = config;
    this.wte = new Embedding(vocabSize, hiddenSize, options);
    this.wpe = new Embedding(maxPositionEmbeddings, hiddenSize, options);
    this.drop = new Dropout(config.embeddingDropout);
    this.h = Array.from({ length: config.numHiddenLayers }, (_, index) => block(index));
    this.ln_f = new LayerNorm(hiddenSize, { ...options, eps: config.layerNormEps });
  }

  /** @returns hidden states after the last norm, `[B, T, hidden]` */
  override forward(inputs: CausalLMInputs, gradientCheckpointing: boolean): Tensor {
    const { positions, context } = sequenceLayout(inputs);
    this.#checkPositions(positions.length());
    const embedded = this.drop.forward(add(this.wte.forward(inputs.inputIds), this.wpe.forward(positions.ids)));
    return this.ln_f.forward(runLayers(this.h, embedded, context, gradientCheckpointing));
  }

  /** Positions are rows of a table: beyond it there are none. */
  #checkPositions(length: number): void {
    const [count, last] = [this.wpe.num_embeddings, length - 1];
    if (last >= count) {
      throw new ModelInputError(
        `inputIds: position ${last} is beyond the model's ${count} positions (0 to ${count - 1}, n_positions). Use shorter sequences.`,
      );
    }
  }
}

/** The decoder with its head, which is the token embedding once more unless the configuration says otherwise. */
export class Gpt2DecoderForCausalLM<C extends Gpt2LikeConfig> extends CausalLM<C> {
  transformer: Gpt2Decoder;
  lm_head: Linear;

  constructor(config: C, transformer: Gpt2Decoder, options: ModelOptions) {
    super(config);
    this.transformer = transformer;
    this.lm_head = new Linear(config.hiddenSize, config.vocabSize, { ...options, bias: false });
    if (config.tieWordEmbeddings) {
      this.lm_head.weight.dispose();
      this.lm_head.weight = this.transformer.wte.weight;
    }
  }

  override forward(inputs: CausalLMInputs): CausalLMOutput {
    const hidden = this.transformer.forward(inputs, this.gradientCheckpointing);
    return causalLMOutput(hidden, this.lm_head, this.config.vocabSize, inputs);
  }

  /** A table of positions is looked up in alike whatever the length, up to its end. */
  override equivalentLength(length: number): number {
    return length > this.transformer.wpe.num_embeddings ? length : 0;
  }

  override tiedWeights(): readonly TiedWeight[] {
    return this.config.tieWordEmbeddings ? [["transformer.wte.weight", "lm_head.weight"]] : [];
  }

  /** What is added to the residual, twice a block, begins smaller, so that the sum over all blocks does not grow with their number. */
  override initialDeviation(module: string): number {
    const { initializerRange, numHiddenLayers } = this.config;
    return module.endsWith(".c_proj") ? initializerRange / Math.sqrt(2 * numHiddenLayers) : initializerRange;
  }
}
