/** The gated activation of most decoders (Shazeer, 2020, https://arxiv.org/abs/2002.05202). Native side: native/cpu/swiglu.cc. */
import { recordOperation } from "../autograd/tape.ts";
import { native } from "../native.ts";
import { Tensor } from "../tensor.ts";
import { mul, silu } from "./elementwise.ts";

/**
 * silu(gate) · up, of one shape. One pass where the dtypes are equal, and one for both gradients, which reads gate and up again in place
 * of keeping silu(gate); else `composedSwiglu`. Both give the same bits.
 */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  if (gate.dtype !== up.dtype) return composedSwiglu(gate, up);
  const result = new Tensor(native.swiglu(gate.handle, up.handle));
  return recordOperation("swiglu", result, [gate, up], [gate, up], (g) =>
    native.swigluGradients(gate.handle, up.handle, g.handle).map((handle) => new Tensor(handle)),
  );
}

/** `swiglu` of primitive operations: what the kernel is tested against. */
export function composedSwiglu(gate: Tensor, up: Tensor): Tensor {
  return mul(silu(gate), up);
}
