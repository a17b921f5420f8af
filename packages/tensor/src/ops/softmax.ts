/** Softmax along one dimension, computed in float32 (sums in float64). Native side: native/cpu/softmax.cc. */
import { recordOperation } from "../autograd/tape.ts";
import { type DType, dtypeCode } from "../dtype.ts";
import { native } from "../native.ts";
import { Tensor } from "../tensor.ts";

/**
 * e^x / Σ e^x along `dim`; the result has `outDtype` (default: x's dtype), which must be floating. As in torch, a row whose
 * elements are all -Infinity gives NaN.
 */
export function softmax(x: Tensor, dim: number, outDtype: DType = x.dtype): Tensor {
  return along(x, dim, false, outDtype);
}

/** log softmax(x) along `dim`, without forming the softmax; the result has `outDtype` (default: x's dtype). */
export function logSoftmax(x: Tensor, dim: number, outDtype: DType = x.dtype): Tensor {
  return along(x, dim, true, outDtype);
}

function along(x: Tensor, dim: number, logarithm: boolean, outDtype: DType): Tensor {
  const result = new Tensor(native.softmax(x.handle, dim, logarithm, dtypeCode(outDtype)));
  if (!x.requiresGrad) return result;
  const y = result.detach();
  return recordOperation(logarithm ? "logSoftmax" : "softmax", result, [x], [y], (g) => [
    new Tensor(native.softmaxGradient(y.handle, g.handle, dim, logarithm, dtypeCode(x.dtype))),
  ]);
}
