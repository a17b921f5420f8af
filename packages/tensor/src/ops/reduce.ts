/**
 * Reductions over one dimension, a list of dimensions, or all. Floats are added in float32 and float64 and rounded once, so bfloat16
 * means are as good as bfloat16 can hold. Native side: native/cpu/reduce.cc.
 *
 * This file calls the native engine for its gradients, too: other operations need `sumTo` for theirs, so it stands below them.
 */
import { recordOperation } from "../autograd/tape.ts";
import { dtypeCode } from "../dtype.ts";
import { TensorError } from "../errors.ts";
import { asStrided, type Handle, native } from "../native.ts";
import { Tensor } from "../tensor.ts";
import { BINARY, UNARY } from "./operation-codes.ts";

// In the order of the native enumerations (native/cpu/kernels.h).
const REDUCE = { sum: 0, mean: 1, amax: 2, amin: 3 } as const;

/** One dimension, several, or (undefined) all; negative ones count from the end. */
export type Dims = number | readonly number[] | undefined;

function allDims(op: string, x: Tensor, dim: Dims): number[] {
  if (dim === undefined) return x.shape.map((_, d) => d);
  const dims = typeof dim === "number" ? [dim] : dim;
  return dims.map((d) => {
    if (!Number.isInteger(d) || d < -x.ndim || d >= x.ndim) {
      throw new TensorError(`${op}: dimension ${d} is out of range for ${x.ndim} dimensions`);
    }
    return d < 0 ? d + x.ndim : d;
  });
}

/** `x` (the result of a reduction of a tensor of `shape` over `dims`) seen as that tensor again, its one value repeated. */
function spread(x: Tensor, shape: readonly number[], dims: readonly number[]): Tensor {
  let own = 0;
  // Without keepdim the reduced dimensions are missing in x; with it they have size 1.
  const keepdim = x.ndim === shape.length;
  const strides = shape.map((_, d) => {
    if (!dims.includes(d)) return x.strides[own++] as number;
    if (keepdim) own++;
    return 0;
  });
  return new Tensor(asStrided(x.handle, shape, strides, x.offset));
}

function binary(op: number, x: Tensor, y: Tensor): Tensor {
  return new Tensor(native.binary(op, x.handle, y.handle));
}

function toDtypeOf(x: Tensor, g: Tensor): Tensor {
  return g.dtype === x.dtype ? g : new Tensor(native.cast(g.handle, dtypeCode(x.dtype)));
}

/** The sum; integers and bool give int64. */
export function sum(x: Tensor, dim?: Dims, keepdim: boolean = false): Tensor {
  const dims = allDims("sum", x, dim);
  const result = new Tensor(native.reduce(REDUCE.sum, x.handle, dims, keepdim));
  return recordOperation("sum", result, [x], [], (g) => [spread(g, x.shape, dims)]);
}

/** The arithmetic mean; integers and bool give float32. The mean of no elements is NaN. */
export function mean(x: Tensor, dim?: Dims, keepdim: boolean = false): Tensor {
  const dims = allDims("mean", x, dim);
  const result = new Tensor(native.reduce(REDUCE.mean, x.handle, dims, keepdim));
  const count = x.numel / result.numel;
  return recordOperation("mean", result, [x], [], (g) => {
    return [spread(new Tensor(native.unary(UNARY.affine, 1 / count, 0, g.handle)), x.shape, dims)];
  });
}

/** The largest element; NaN wins. Equal largest elements share the gradient. Throws TensorError where there is no element. */
export function amax(x: Tensor, dim?: Dims, keepdim: boolean = false): Tensor {
  return extreme("amax", x, dim, keepdim);
}

/** The smallest element; NaN wins. Equal smallest elements share the gradient. Throws TensorError where there is no element. */
export function amin(x: Tensor, dim?: Dims, keepdim: boolean = false): Tensor {
  return extreme("amin", x, dim, keepdim);
}

function extreme(name: "amax" | "amin", x: Tensor, dim: Dims, keepdim: boolean): Tensor {
  const dims = allDims(name, x, dim);
  const result = new Tensor(native.reduce(REDUCE[name], x.handle, dims, keepdim));
  if (!x.requiresGrad) return result;
  const y = result.detach();
  return recordOperation(name, result, [x], [x, y], (g) => {
    const chosen = binary(BINARY.eq, x, spread(y, x.shape, dims));
    const mask = new Tensor(native.cast(chosen.handle, dtypeCode("float32")));
    const count = new Tensor(native.reduce(REDUCE.sum, mask.handle, dims, keepdim));
    const share = binary(BINARY.div, g, count);
    return [toDtypeOf(x, binary(BINARY.mul, mask, spread(share, x.shape, dims)))];
  });
}

/** int64 index of the first largest element along `dim`, or of the flattened tensor when it is undefined. NaN counts as largest. */
export function argmax(x: Tensor, dim?: number, keepdim: boolean = false): Tensor {
  if (dim !== undefined) return new Tensor(native.argmax(x.handle, dim, keepdim));
  const flat = new Tensor(native.contiguous(x.handle));
  const row = new Tensor(asStrided(flat.handle, [x.numel], [1], flat.offset));
  return new Tensor(native.argmax(row.handle, 0, false));
}

/** log Σ e^x without overflow, computed in float32; the result has x's dtype, which must be floating. */
export function logsumexp(x: Tensor, dim?: Dims, keepdim: boolean = false): Tensor {
  const dims = allDims("logsumexp", x, dim);
  const result = new Tensor(native.logsumexp(x.handle, dims, keepdim));
  if (!x.requiresGrad) return result;
  const y = result.detach();
  return recordOperation("logsumexp", result, [x], [x, y], (g) => {
    const difference = binary(BINARY.sub, x, spread(y, x.shape, dims));
    const softmax = new Tensor(native.unary(UNARY.exp, 0, 0, difference.handle));
    return [binary(BINARY.mul, softmax, spread(g, x.shape, dims))];
  });
}

/** Running sums along `dim`: element i is the sum of elements 0 to i. Integers give int64. */
export function cumsum(x: Tensor, dim: number): Tensor {
  const result = new Tensor(native.cumsum(x.handle, dim, false));
  return recordOperation("cumsum", result, [x], [], (g) => [new Tensor(native.cumsum(g.handle, dim, true))]);
}

/**
 * The gradient of broadcasting: `g` summed over the dimensions that broadcasting added to, or stretched from, `shape`; `g` itself
 * when the shapes are equal. Keeps g's dtype. Not recorded.
 */
export function sumTo(g: Tensor, shape: readonly number[]): Tensor {
  const added = g.ndim - shape.length;
  const dims: number[] = [];
  g.shape.forEach((size, d) => {
    if (d < added || (shape[d - added] === 1 && size !== 1)) dims.push(d);
  });
  if (dims.length === 0) return g;
  if (added < 0 || !shape.every((size, d) => size === 1 || size === g.shape[d + added])) {
    throw new TensorError(`sumTo: [${g.shape.join(", ")}] was not broadcast from [${shape.join(", ")}]`);
  }
  const total = new Tensor(native.reduce(REDUCE.sum, g.handle, dims, true));
  if (added === 0) return total;
  const view: Handle = asStrided(total.handle, shape, total.strides.slice(added), total.offset);
  return new Tensor(view);
}
