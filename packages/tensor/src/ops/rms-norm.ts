/** Root mean square normalisation (https://arxiv.org/abs/1910.07467). Native side: native/cpu/rms_norm.cc. */
import { recordOperation } from "../autograd/tape.ts";
import { native } from "../native.ts";
import { scope } from "../scope.ts";
import { Tensor } from "../tensor.ts";
import { add, cast, mul, rsqrt, square } from "./elementwise.ts";
import { mean } from "./reduce.ts";

/**
 * x / rms(x) · weight over the last dimension of x [..., n], weight [n]. The statistics are float32 whatever x is; the normalised values
 * are rounded to x's dtype before they meet the weight. Forward and gradients are one pass each where the dtypes are
 * equal, else `composedRmsNorm`: forward gives the same bits, the gradients differ in the order of sums.
 */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  if (x.dtype !== weight.dtype) return composedRmsNorm(x, weight, eps);
  const out = new Tensor(native.rmsNorm(x.handle, weight.handle, eps));
  return recordOperation("rmsNorm", out, [x, weight], [x, weight], (g, [ofX = false, ofWeight = false]) =>
    native
      .rmsNormGradients(x.handle, weight.handle, g.handle, eps, ofX, ofWeight)
      .map((handle) => (handle === undefined ? undefined : new Tensor(handle))),
  );
}

/** `rmsNorm` of primitive operations: its gradients, and what the kernel is tested against. */
export function composedRmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  return scope(() => {
    const wide = cast(x, "float32");
    const normalised = mul(wide, rsqrt(add(mean(square(wide), -1, true), eps)));
    return mul(weight, cast(normalised, x.dtype));
  });
}
