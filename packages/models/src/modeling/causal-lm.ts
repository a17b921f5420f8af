import { Module, type Tensor } from "@fms-accel/tensor";

import type { CausalLMConfig } from "../config/causal-lm-config.ts";
import type { KeyValueCache } from "./key-value-cache.ts";
import type { AttentionFunction } from "./attention-context.ts";
import type { InputFacts } from "./input-facts.ts";

/**
 * Inputs of a forward call. B: rows of the batch, T: positions of this call. Integers are int32. All but `inputIds` may lie on the CPU
 * whatever the model's device, which saves a GPU a wait: their values are looked at.
 */
export interface CausalLMInputs {
  /** Token ids `[B, T]`. */
  readonly inputIds: Tensor;
  /**
   * `[B, S]`, 1 where a position holds a token and 0 where it is padding, left or right. S counts the cached positions too,
   * T without a cache. Absent: all are tokens.
   */
  readonly attentionMask?: Tensor | undefined;
  /** Position of each token in its sequence `[B, T]`. Absent: counted from the cache's length on, padding included. */
  readonly positionIds?: Tensor | undefined;
  /**
   * Which sequence of its row a token belongs to `[B, T]`: tokens see only their own sequence, so several can share a row.
   * Absent with `positionIds` but neither mask nor cache: a new sequence starts where positions do not count on by one.
   */
  readonly sequenceIds?: Tensor | undefined;
  /** Target ids `[B, T]`, -100 for none: the logits at t are held against the label at t + 1. */
  readonly labels?: Tensor | undefined;
  /** What the summed loss is divided by, also as a float32 scalar; absent: the number of targets of this call. */
  readonly numItemsInBatch?: number | Tensor | undefined;
  /** What is known of the values of these inputs, so that nobody reads them. */
  readonly facts?: InputFacts | undefined;
  readonly cache?: KeyValueCache | undefined;
  /** What attends in place of the engine's attention. */
  readonly attention?: AttentionFunction | undefined;
  /** Compute logits of the last k positions only; absent or 0: of all. */
  readonly logitsToKeep?: number | undefined;
}

/**
 * What a forward call returns. With `labels` the loss is computed without ever holding all logits, and `logits` are
 * computed when they are first read: read them, if at all, before the tensors of the call are freed.
 */
export interface CausalLMOutput {
  /** `[B, T or logitsToKeep, V]` in the compute dtype. */
  readonly logits: Tensor;
  /** float32 scalar; present with `labels`. */
  readonly loss: Tensor | undefined;
  /** Load-balancing loss of a mixture of experts times its coefficient, as it is already contained in `loss`. */
  readonly auxLoss?: Tensor | undefined;
}

/** Two names of one parameter: the checkpoint has the first, the second is another place in which the model uses it. */
export type TiedWeight = readonly [kept: string, alias: string];

/** A language model that predicts the next token. Architectures extend it; `AutoModelForCausalLM` makes them. */
export abstract class CausalLM<C extends CausalLMConfig = CausalLMConfig> extends Module {
  readonly config: C;
  /** Contents of generation_config.json: defaults of `generate`, saved again with the model. */
  generationConfig: Readonly<Record<string, unknown>>;
  /** Recompute each layer's activations in backward instead of keeping them: less memory, one more forward pass. */
  gradientCheckpointing: boolean;

  constructor(config: C) {
    super();
    this.config = config;
    this.generationConfig = {};
    this.gradientCheckpointing = false;
  }

  abstract forward(inputs: CausalLMInputs): CausalLMOutput;

  /** Parameters that the model uses in more than one place. */
  abstract tiedWeights(): readonly TiedWeight[];

  /** The smallest length of a call's longest sequence that is computed as `length` is, apart from how many positions there are. */
  equivalentLength(_length: number): number {
    return 0;
  }

  /** Deviation of the normally distributed initial weights of a module. @param _module its name in the model */
  initialDeviation(_module: string): number {
    return this.config.initializerRange;
  }
}
