/**
 * Reading and adding by index, and ordering. Indices have an integer dtype; one outside of its dimension is a TensorError that names
 * it and its position. Sums over equal indices have a fixed order. Native side: native/cpu/indexing.cc.
 */
import { recordOperation } from "../autograd/tape.ts";
import { deviceCode } from "../device.ts";
import { dtypeCode, isFloating } from "../dtype.ts";
import { TensorError } from "../errors.ts";
import { native } from "../native.ts";
import { Tensor } from "../tensor.ts";

function zerosOf(shape: readonly number[], like: Tensor): Tensor {
  const zeros = new Tensor(native.empty(shape, dtypeCode(like.dtype), deviceCode(like.device)));
  native.fill(zeros.handle, 0);
  return zeros;
}

/**
 * Rows of `weight` [rows, ...] by id: ids.shape + weight.shape[1:]. The row `paddingIdx` (negative: from the end) gets no gradient.
 * Throws TensorError for an id outside of 0 to rows - 1.
 */
export function embedding(ids: Tensor, weight: Tensor, options: { paddingIdx?: number | undefined } = {}): Tensor {
  const rows = weight.shape[0] as number;
  const { paddingIdx } = options;
  if (paddingIdx !== undefined && !(Number.isInteger(paddingIdx) && paddingIdx >= -rows && paddingIdx < rows)) {
    throw new TensorError(`embedding: paddingIdx ${paddingIdx} is out of range for ${rows} rows`);
  }
  const padding = paddingIdx === undefined ? -1 : paddingIdx < 0 ? paddingIdx + rows : paddingIdx;
  const result = new Tensor(native.embedding(ids.handle, weight.handle));
  return recordOperation("embedding", result, [weight], [ids], (g) => [
    new Tensor(native.embeddingGradient(g.handle, ids.handle, rows, padding, dtypeCode(weight.dtype))),
  ]);
}

/** x with dimension `dim` replaced by the positions that `index` [n] names. */
export function indexSelect(x: Tensor, dim: number, index: Tensor): Tensor {
  const result = new Tensor(native.indexSelect(x.handle, dim, index.handle));
  return recordOperation("indexSelect", result, [x], [index], (g) => [
    dim === 0 && x.device === "cpu" && isFloating(g.dtype)
      ? new Tensor(native.addWeightedRows(g.handle, undefined, index.handle, x.shape[0] as number, dtypeCode(g.dtype)))
      : new Tensor(native.indexAdd(zerosOf(x.shape, g).handle, dim, index.handle, g.handle)),
  ]);
}

/** x + source, where position j of `source` along `dim` is added at position index[j]; one dtype, `index` [n]. A new tensor. */
export function indexAdd(x: Tensor, dim: number, index: Tensor, source: Tensor): Tensor {
  const result = new Tensor(native.indexAdd(x.handle, dim, index.handle, source.handle));
  return recordOperation("indexAdd", result, [x, source], [index], (g, needs) => [
    g,
    needs[1] === true ? new Tensor(native.indexSelect(g.handle, dim, index.handle)) : undefined,
  ]);
}

/**
 * result[i][j][k] = x[i][index[i][j][k]][k] for dim = 1. `index` has x's number of dimensions, is no larger than x outside of `dim`,
 * and gives the result its shape.
 */
export function gather(x: Tensor, dim: number, index: Tensor): Tensor {
  const result = new Tensor(native.gather(x.handle, dim, index.handle));
  return recordOperation("gather", result, [x], [index], (g) => [
    new Tensor(native.scatterAdd(zerosOf(x.shape, g).handle, dim, index.handle, g.handle)),
  ]);
}

/** x plus source[i][j][k] at [i][index[i][j][k]][k] for dim = 1; `index` and `source` have one shape. A new tensor. */
export function scatterAdd(x: Tensor, dim: number, index: Tensor, source: Tensor): Tensor {
  const result = new Tensor(native.scatterAdd(x.handle, dim, index.handle, source.handle));
  return recordOperation("scatterAdd", result, [x, source], [index], (g, needs) => [
    g,
    needs[1] === true ? new Tensor(native.gather(g.handle, dim, index.handle)) : undefined,
  ]);
}

/** Elements and their int64 positions along the dimension that was ordered. */
export interface Ordered {
  values: Tensor;
  indices: Tensor;
}

/** The k largest elements along `dim`, largest first; equal ones in their order in x, NaN first. */
export function topk(x: Tensor, k: number, dim: number = -1): Ordered {
  const indices = new Tensor(native.topkIndices(x.handle, dim, k));
  return { values: gather(x, dim, indices), indices };
}

/** All elements along `dim` in ascending order, or descending; equal ones in their order in x. NaN counts as largest. */
export function sort(x: Tensor, dim: number = -1, descending: boolean = false): Ordered {
  const indices = new Tensor(native.sortIndices(x.handle, dim, descending));
  return { values: gather(x, dim, indices), indices };
}
