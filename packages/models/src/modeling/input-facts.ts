import type { Tensor } from "@fms-accel/tensor";

/** Positions that have a target, worked out from labels `[B, T]`. */
export interface Targets {
  /** int32 `[N]`: row `b · T + t` of each; what fills up repeats the first. */
  readonly rows: Tensor;
  /** int32 `[N]`: the label at t + 1; -100 in what fills up. */
  readonly labels: Tensor;
  /** How many there are without what fills up. */
  readonly count: number;
}

/**
 * What a forward call would otherwise read from its inputs on the host, by the input that it was read from. With these the inputs may lie
 * on a GPU and be captured in a CUDA graph. They hold for the very tensors that they were made for: a model that makes new inputs of what it
 * is given reads those itself.
 */
export interface InputFacts {
  readonly targets: ReadonlyMap<Tensor, Targets>;
  /** Of an attention mask: whether it hides anything that comes before a token. */
  readonly hidesKeys: ReadonlyMap<Tensor, boolean>;
  /** Of position ids: the number of each token's sequence int32 `[B, T]`; undefined where every row is a single sequence. */
  readonly sequenceIds: ReadonlyMap<Tensor, Tensor | undefined>;
  /** Of position ids: the largest + 1, or a length that `CausalLM.equivalentLength` says is the same. */
  readonly lengths: ReadonlyMap<Tensor, number>;
  /**
   * Of position ids, or sequence ids where there are some: where sequences begin and end when rows lie one behind the other, int32, from 0 to
   * B·T; what fills up repeats B·T. Undefined where the tokens of a sequence do not lie together.
   */
  readonly cuSeqlens: ReadonlyMap<Tensor, Tensor | undefined>;
}
