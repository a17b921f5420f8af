import { addmm, linear, reshape, type Tensor } from "@fms-accel/tensor";

/**
 * result + scaling · (x · Aᵀ) · Bᵀ, written over `result`: the adapter costs two products that are r wide, and no pass over
 * the result of its own. A and B are rounded to x's dtype while they are multiplied; their gradients keep their own dtype.
 *
 * @param result `[..., out]`, a fresh result of a linear layer: nothing may read it afterwards, nor its operation's backward
 * @param x `[..., in]`
 * @param a `[r, in]`
 * @param b `[out, r]`
 */
export function addLoraProduct(result: Tensor, x: Tensor, a: Tensor, b: Tensor, scaling: number): Tensor {
  return addLowRank(result, linear(x, a), b, scaling);
}

/** The second half of `addLoraProduct`: result + scaling · narrow · Bᵀ, written over `result`; `narrow` is `[..., r]`. */
export function addLowRank(result: Tensor, narrow: Tensor, b: Tensor, scaling: number): Tensor {
  const sum = addmm(asRows(result), asRows(narrow), b, { alpha: scaling, transposeB: true, overwriteInput: true });
  return result.ndim === 2 ? sum : reshape(sum, result.shape);
}

function asRows(x: Tensor): Tensor {
  return x.ndim === 2 ? x : reshape(x, [-1, x.shape.at(-1) ?? 1]);
}
