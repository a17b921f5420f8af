import { add, cast, cat, mul, neg, noGrad, recordOperation, scope, slice, type Tensor } from "@fms-accel/tensor";

/**
 * Rotates queries and keys by their positions. Dimension i is paired with dimension i + D/2 (the "half" layout of Hugging
 * Face checkpoints, not the interleaved one of the RoFormer paper).
 * @param q `[B, T, H, D]`
 * @param k `[B, T, Hkv, D]`
 * @param cos `[B or 1, T, 1, D]`
 * @param sin `[B or 1, T, 1, D]`
 */
export function applyRotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor): { q: Tensor; k: Tensor } {
  return { q: rotate(q, cos, sin), k: rotate(k, cos, sin) };
}

/** The gradient of a rotation is the rotation back. */
function rotate(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  const rotated = noGrad(() => turn(x, cos, sin));
  return recordOperation("rotate", rotated, [x], [cos, sin], (gradient) => [
    cast(turn(gradient, cos, neg(sin)), x.dtype),
  ]);
}

function turn(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  return scope(() => add(mul(x, cos), mul(quarterTurn(x), sin)));
}

/** (x1, x2) → (-x2, x1) for every pair. */
function quarterTurn(x: Tensor): Tensor {
  const size = x.shape.at(-1)!;
  return cat([neg(slice(x, -1, size / 2, size)), slice(x, -1, 0, size / 2)], -1);
}
