import type { Tensor } from "@fms-accel/tensor";

import type { KeyValueCache } from "./key-value-cache.ts";

export interface AttendOptions {
  readonly layerIndex: number;
  /** Factor of the scores. */
  readonly scale: number;
  /** Probability of dropping an attention weight; 0 outside training. */
  readonly dropout: number;
  readonly window?: number | undefined;
  readonly softCap?: number | undefined;
}

/** Who sees whom, and what was seen before. The names are those of `scaledDotProductAttention`'s options. */
export interface AttentionContext {
  readonly keyMask: Tensor | undefined;
  readonly querySegments: Tensor | undefined;
  readonly keySegments: Tensor | undefined;
  readonly cache: KeyValueCache | undefined;
  /**
   * int32 `[sequences + 1]`: where sequences begin and end when rows lie one behind the other, with `attention` only. Absent where
   * this does not say who sees whom, because positions are cached or padding is hidden.
   */
  readonly cuSeqlens: Tensor | undefined;
  /** In place of the engine's attention. */
  readonly attention: AttentionFunction | undefined;
}

/**
 * Causal attention between the projections of a layer: softmax(scale · q · kᵀ) · v, each token among those of its own sequence up to
 * itself. What it gives has q's shape and the products' dtype.
 * @param q `[B, T, H, D]`
 * @param k `[B, T, Hkv, D]`
 * @param v `[B, T, Hkv, D]`
 * @returns undefined where it cannot do what context or options ask for: the engine's attention does then
 */
export type AttentionFunction = (
  q: Tensor,
  k: Tensor,
  v: Tensor,
  context: AttentionContext,
  options: AttendOptions,
) => Tensor | undefined;
