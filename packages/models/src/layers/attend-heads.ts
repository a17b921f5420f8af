import { reshape, type Tensor, transpose } from "@fms-accel/tensor";

import type { AttentionContext } from "../modeling/run-layers.ts";
import { causalAttention } from "./attention.ts";

export interface AttendOptions {
  readonly layerIndex: number;
  /** Factor of the scores. */
  readonly scale: number;
  /** Probability of dropping an attention weight; 0 outside training. */
  readonly dropout: number;
  readonly window?: number | undefined;
  readonly softCap?: number | undefined;
}

/** Splits what a projection gives into heads: `[B, T, H·D]` to `[B, T, H, D]`. */
export function splitHeads(projected: Tensor, headDim: number): Tensor {
  const [batch, length] = projected.shape as [number, number, number];
  return reshape(projected, [batch, length, -1, headDim]);
}

/**
 * What all architectures do between their projections: new keys and values join the cached ones, queries attend, heads are put
 * side by side again.
 * @param q `[B, T, H, D]`, rotated where the architecture rotates
 * @param k `[B, T, Hkv, D]`
 * @param v `[B, T, Hkv, D]`
 * @returns `[B, T, H·D]`
 */
export function attendHeads(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { cache, keyMask, querySegments, keySegments }: AttentionContext,
  { layerIndex, ...options }: AttendOptions,
): Tensor {
  const [batch, length] = q.shape as [number, number, number, number];
  let keys = transpose(k, 1, 2);
  let values = transpose(v, 1, 2);
  if (cache !== undefined) {
    ({ keys, values } = cache.update(layerIndex, keys, values));
  }
  const visible = { keyMask, querySegments, keySegments };
  const attended = causalAttention(transpose(q, 1, 2), keys, values, { ...options, ...visible });
  return reshape(transpose(attended, 1, 2), [batch, length, -1]);
}
