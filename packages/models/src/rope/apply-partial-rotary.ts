import { cat, slice, type Tensor } from "@fms-accel/tensor";

import { applyRotary } from "./apply-rotary.ts";

/**
 * Rotates the first dimensions of each head, as many as there are phases; the others pass unchanged.
 * @param q `[B, T, H, D]`
 * @param k `[B, T, Hkv, D]`
 * @param cos `[B or 1, T, 1, R]`, R at most D
 * @param sin `[B or 1, T, 1, R]`
 */
export function applyPartialRotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor): { q: Tensor; k: Tensor } {
  const rotaryDim = cos.shape.at(-1)!;
  const headDim = q.shape.at(-1)!;
  if (rotaryDim === headDim) {
    return applyRotary(q, k, cos, sin);
  }
  const first = (x: Tensor): Tensor => slice(x, -1, 0, rotaryDim);
  const join = (rotated: Tensor, x: Tensor): Tensor => cat([rotated, slice(x, -1, rotaryDim, headDim)], -1);
  const rotated = applyRotary(first(q), first(k), cos, sin);
  return { q: join(rotated.q, q), k: join(rotated.k, k) };
}
