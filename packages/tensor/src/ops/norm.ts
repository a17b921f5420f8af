/** Euclidean norms, accumulated in float64 in a fixed order. Native side: native/cpu/optimizer.cc. */
import { recordOperation } from "../autograd/tape.ts";
import { native } from "../native.ts";
import type { Tensor } from "../tensor.ts";
import { full } from "../create.ts";
import { cast, mul } from "./elementwise.ts";

/** √Σx² over all elements of all tensors (floating), rounded to float32; 0 for an empty list. Not recorded. */
export function globalNorm(tensors: Iterable<Tensor>): number {
  return Math.fround(native.globalNorm([...tensors].map(({ handle }) => handle)));
}

/** √Σx² as a float32 scalar. Its gradient at x = 0 is 0. */
export function norm2(x: Tensor): Tensor {
  const norm = globalNorm([x]);
  return recordOperation("norm2", full([], norm, { device: x.device }), [x], [x], (g) => [
    cast(mul(mul(cast(x, "float32"), norm === 0 ? 0 : 1 / norm), g), x.dtype),
  ]);
}
