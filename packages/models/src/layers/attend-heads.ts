import { reshape, type Tensor, transpose } from "@fms-accel/tensor";

import type { AttendOptions, AttentionContext } from "../modeling/attention-context.ts";
import { causalAttention } from "./attention.ts";

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
  context: AttentionContext,
  options: AttendOptions,
): Tensor {
  const [batch, length] = q.shape as [number, number, number, number];
  const replaced = context.attention?.(q, k, v, context, options);
  if (replaced !== undefined) return reshape(replaced, [batch, length, -1]);
  const { cache, keyMask, querySegments, keySegments } = context;
  const { layerIndex, ...settings } = options;
  let keys = transpose(k, 1, 2);
  let values = transpose(v, 1, 2);
  if (cache !== undefined) {
    ({ keys, values } = cache.update(layerIndex, keys, values, settings.window));
  }
  const visible = { keyMask, querySegments, keySegments };
  const attended = causalAttention(transpose(q, 1, 2), keys, values, { ...settings, ...visible });
  return reshape(transpose(attended, 1, 2), [batch, length, -1]);
}
