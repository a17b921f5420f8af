import { rotary, type Tensor } from "@fms-accel/tensor";

/**
 * Rotates queries and keys by their positions. Dimension i is paired with dimension i + D/2 (the "half" layout of Hugging
 * Face checkpoints, not the interleaved one of the RoFormer paper).
 * @param q `[B, T, H, D]`
 * @param k `[B, T, Hkv, D]`
 * @param cos `[B or 1, T, 1, D]`
 * @param sin `[B or 1, T, 1, D]`
 */
export function applyRotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor): { q: Tensor; k: Tensor } {
  return { q: rotary(q, cos, sin), k: rotary(k, cos, sin) };
}
