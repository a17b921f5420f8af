/** Rotary position embeddings (https://arxiv.org/abs/2104.09864) in the half layout. Native side: native/cpu/rotary.cc. */
import { noGrad } from "../autograd/grad-mode.ts";
import { recordOperation } from "../autograd/tape.ts";
import { native } from "../native.ts";
import { scope } from "../scope.ts";
import { Tensor } from "../tensor.ts";
import { add, cast, mul, neg } from "./elementwise.ts";
import { cat, slice } from "./shape.ts";

/**
 * Turns each pair (x_i, x_{i + dim/2}) by its phase: x · cos + (−x₂, x₁) · sin for the halves x₁, x₂ of the last dimension.
 *
 * x [batch, tokens, heads, dim], cos and sin [batch or 1, tokens, 1, dim], the same in both halves; they get no gradient. That of x is the
 * turn back. One pass where all dtypes are equal, else `composedRotary`; both give the same bits.
 */
export function rotary(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  const turned = turn(x, cos, sin);
  return recordOperation("rotary", turned, [x], [cos, sin], (g) => [cast(turn(g, cos, neg(sin)), x.dtype)]);
}

function turn(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  if (x.dtype !== cos.dtype || x.dtype !== sin.dtype) return noGrad(() => composedRotary(x, cos, sin));
  return new Tensor(native.rotary(x.handle, cos.handle, sin.handle));
}

/** `rotary` of primitive operations: what the kernel is tested against. */
export function composedRotary(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  return scope(() => {
    const size = x.shape.at(-1) as number;
    const quarterTurn = cat([neg(slice(x, -1, size / 2, size)), slice(x, -1, 0, size / 2)], -1);
    return add(mul(x, cos), mul(quarterTurn, sin));
  });
}
