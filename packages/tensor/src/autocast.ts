import type { DType } from "./dtype.ts";

const state: { dtype: DType | undefined } = { dtype: undefined };

/** @internal The dtype that matrix products convert their operands to, or undefined. */
export function autocastDtype(): DType | undefined {
  return state.dtype;
}

/**
 * Mixed precision: inside `body`, linear, matmul, addmm and scaledDotProductAttention round their floating operands to
 * `dtype` while packing (no converted copies are made) and give results of that dtype; everything else keeps its dtype.
 * Parameters stay float32 and get float32 gradients. `body` must be synchronous.
 */
export function autocast<T>(dtype: DType | undefined, body: () => T): T {
  const before = state.dtype;
  state.dtype = dtype;
  try {
    return body();
  } finally {
    state.dtype = before;
  }
}
