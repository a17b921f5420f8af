/** Operations that change how elements are seen. All but `contiguous`, `cat` and (for some strides) `reshape` are views of the same memory. */
import { needsTape, recordMany, recordOperation } from "../autograd/tape.ts";
import { deviceCode } from "../device.ts";
import { dtypeCode } from "../dtype.ts";
import { TensorError } from "../errors.ts";
import { asStrided, native } from "../native.ts";
import { Tensor } from "../tensor.ts";
import { sumTo } from "./reduce.ts";

function view(x: Tensor, shape: readonly number[], strides: readonly number[], offset: number = x.offset): Tensor {
  // A view without elements starts nowhere; where its offset would point may lie outside of x.
  return new Tensor(asStrided(x.handle, shape, strides, shape.includes(0) ? x.offset : offset));
}

/** `dim` counted from the front. Throws TensorError when it is out of range. */
export function dimension(op: string, dim: number, ndim: number): number {
  if (!Number.isInteger(dim) || dim < -ndim || dim >= ndim) {
    throw new TensorError(`${op}: dimension ${dim} is out of range for ${ndim} dimensions`);
  }
  return dim < 0 ? dim + ndim : dim;
}

/** The tensor itself when its elements lie in row-major order, else a copy. */
export function contiguous(x: Tensor): Tensor {
  if (x.isContiguous) return x;
  return recordOperation("contiguous", new Tensor(native.contiguous(x.handle)), [x], [], (g) => [g]);
}

// The strides that give `shape` without a copy, or undefined.
function viewStrides(x: Tensor, shape: readonly number[]): number[] | undefined {
  if (x.isContiguous || x.numel === 0) {
    const strides = shape.slice();
    let step = 1;
    for (let d = shape.length - 1; d >= 0; d--) {
      strides[d] = step;
      step *= Math.max(shape[d] as number, 1);
    }
    return strides;
  }
  // Walks both shapes from the end: each run of old dimensions that lies evenly in memory may be cut anew.
  const strides: number[] = Array.from({ length: shape.length }, () => 0);
  let d = shape.length - 1;
  let old = x.ndim - 1;
  while (old >= 0) {
    let run = x.shape[old] as number;
    let step = x.strides[old] as number;
    while (old > 0 && (x.shape[old - 1] === 1 || x.strides[old - 1] === step * run)) {
      old--;
      run *= x.shape[old] as number;
    }
    old--;
    for (let left = run; d >= 0 && (left > 1 || shape[d] === 1); d--) {
      const size = shape[d] as number;
      if (left % size !== 0) return undefined;
      strides[d] = step;
      step *= size;
      left /= size;
    }
  }
  return strides;
}

/** The same elements in row-major order under another shape; one size may be -1. A view where strides allow, else a copy. */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  const sizes = shape.slice();
  const unknown = shape.indexOf(-1);
  if (unknown >= 0) {
    sizes[unknown] = 1;
    sizes[unknown] = x.numel / product(sizes);
  }
  if (product(sizes) !== x.numel || !sizes.every(isSize)) {
    throw new TensorError(
      `reshape: [${x.shape.join(", ")}] (${x.numel} elements) does not fit into [${shape.join(", ")}]`,
    );
  }
  const strides = viewStrides(x, sizes);
  if (strides === undefined) return reshape(contiguous(x), sizes);
  return recordOperation("reshape", view(x, sizes, strides), [x], [], (g) => [reshape(g, x.shape)]);
}

// Plain loops and functions here and below: decoding reshapes hundreds of small tensors for every token.
function product(sizes: readonly number[]): number {
  let result = 1;
  for (const size of sizes) result *= size;
  return result;
}

function isSize(size: number): boolean {
  return Number.isInteger(size) && size >= 0;
}

/** Dimensions in the order of `dims`. */
export function permute(x: Tensor, dims: readonly number[]): Tensor {
  const order = dims.map((dim) => dimension("permute", dim, x.ndim));
  if (order.length !== x.ndim || new Set(order).size !== x.ndim) {
    throw new TensorError(`permute: [${dims.join(", ")}] is no order of ${x.ndim} dimensions`);
  }
  const result = view(
    x,
    order.map((d) => x.shape[d] as number),
    order.map((d) => x.strides[d] as number),
  );
  return recordOperation("permute", result, [x], [], (g) => [
    permute(
      g,
      order.map((_, d) => order.indexOf(d)),
    ),
  ]);
}

/** Dimensions `a` and `b` exchanged. */
export function transpose(x: Tensor, a: number, b: number): Tensor {
  const first = dimension("transpose", a, x.ndim);
  const second = dimension("transpose", b, x.ndim);
  const result = view(x, exchanged(x.shape, first, second), exchanged(x.strides, first, second));
  return recordOperation("transpose", result, [x], [], (g) => [transpose(g, first, second)]);
}

function exchanged(values: readonly number[], first: number, second: number): number[] {
  const result = values.slice();
  result[first] = values[second] as number;
  result[second] = values[first] as number;
  return result;
}

/** Dimensions of size 1 repeated to `shape` without a copy; -1 keeps a size; new dimensions may stand in front. */
export function expand(x: Tensor, shape: readonly number[]): Tensor {
  const added = shape.length - x.ndim;
  const sizes = shape.map((size, d) => (size === -1 && d >= added ? (x.shape[d - added] as number) : size));
  const strides = sizes.map((size, d) => {
    const own = x.shape[d - added];
    if (own === size) return x.strides[d - added] as number;
    if (d >= added && own !== 1)
      throw new TensorError(`expand: [${x.shape.join(", ")}] does not expand to [${shape.join(", ")}]`);
    return 0;
  });
  if (added < 0)
    throw new TensorError(`expand: [${x.shape.join(", ")}] has more dimensions than [${shape.join(", ")}]`);
  return recordOperation("expand", view(x, sizes, strides), [x], [], (g) => [sumTo(g, x.shape)]);
}

/** A dimension of size 1 put in at `dim`. */
export function unsqueeze(x: Tensor, dim: number): Tensor {
  const at = dimension("unsqueeze", dim, x.ndim + 1);
  return reshape(x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)]);
}

/** Dimension `dim`, which has size 1, taken out. */
export function squeeze(x: Tensor, dim: number): Tensor {
  const at = dimension("squeeze", dim, x.ndim);
  if (x.shape[at] !== 1) throw new TensorError(`squeeze: dimension ${dim} of [${x.shape.join(", ")}] is not 1`);
  return reshape(
    x,
    x.shape.filter((_, d) => d !== at),
  );
}

/** Elements start, start + step, … below `end` of dimension `dim`; negative bounds count from the end, bounds are clipped. */
export function slice(x: Tensor, dim: number, start: number, end: number = Infinity, step = 1): Tensor {
  const at = dimension("slice", dim, x.ndim);
  if (!Number.isInteger(step) || step < 1)
    throw new TensorError(`slice: the step must be a positive integer, found ${step}`);
  const size = x.shape[at] as number;
  const clip = (bound: number): number => Math.min(Math.max(bound < 0 ? bound + size : bound, 0), size);
  const from = clip(start);
  const length = Math.max(0, Math.ceil((clip(end) - from) / step));
  if (!Number.isInteger(from) || !Number.isInteger(length))
    throw new TensorError(`slice: bounds ${start}, ${end} are no integers`);
  const stride = x.strides[at] as number;
  const shape = x.shape.slice();
  shape[at] = length;
  const strides = x.strides.slice();
  strides[at] = stride * step;
  const result = view(x, shape, strides, x.offset + from * stride);
  return recordOperation("slice", result, [x], [], (g) => {
    const whole = new Tensor(native.empty(x.shape, dtypeCode(g.dtype), deviceCode(x.device)));
    native.fill(whole.handle, 0);
    slice(whole, at, from, from + (length - 1) * step + 1, step).copyFrom(g);
    return [whole];
  });
}

/**
 * Overwrites positions start, start + 1, … of dimension `dim` of `target` with `source`, which agrees with it in the other dimensions and
 * is converted to its dtype. Not recorded: for buffers that are filled piece by piece.
 */
export function copyIntoSlice(target: Tensor, dim: number, start: number, source: Tensor): void {
  native.copyIntoSlice(target.handle, dim, start, source.handle);
}

/** One index of dimension `dim`, which is taken out. Throws TensorError when the index is out of range. */
export function select(x: Tensor, dim: number, index: number): Tensor {
  const at = dimension("select", dim, x.ndim);
  const size = x.shape[at] as number;
  if (!Number.isInteger(index) || index < -size || index >= size) {
    throw new TensorError(`select: index ${index} is out of range for dimension ${dim} of [${x.shape.join(", ")}]`);
  }
  const from = index < 0 ? index + size : index;
  return squeeze(slice(x, at, from, from + 1), at);
}

/** Pieces along `dim`: of the given sizes (which add up to the dimension), or of one size, the last may be shorter. */
export function split(x: Tensor, sizes: number | readonly number[], dim: number): Tensor[] {
  const at = dimension("split", dim, x.ndim);
  const total = x.shape[at] as number;
  if (typeof sizes === "number" && !(sizes > 0))
    throw new TensorError(`split: the size must be positive, found ${sizes}`);
  const lengths =
    typeof sizes === "number"
      ? Array.from({ length: Math.ceil(total / sizes) }, (_, i) => Math.min(sizes, total - i * sizes))
      : sizes;
  if (lengths.reduce((sum, length) => sum + length, 0) !== total) {
    throw new TensorError(`split: sizes [${lengths.join(", ")}] do not add up to ${total}`);
  }
  let start = 0;
  const pieces = lengths.map((length) => {
    const offset = x.offset + start * (x.strides[at] as number);
    start += length;
    return view(
      x,
      x.shape.map((size, d) => (d === at ? length : size)),
      x.strides,
      offset,
    );
  });
  // One node for all pieces: a gradient of x's size for each of them would make many pieces (experts) slow.
  if (needsTape([x])) {
    recordMany("split", pieces, [x], [], (gradients) => {
      const known = gradients.find((gradient) => gradient !== undefined) as Tensor;
      const parts = lengths.map((length, i) => gradients[i] ?? zerosOfPiece(x.shape, at, length, known));
      return [
        new Tensor(
          native.cat(
            parts.map((part) => part.handle),
            at,
          ),
        ),
      ];
    });
  }
  return pieces;
}

function zerosOfPiece(shape: readonly number[], at: number, length: number, like: Tensor): Tensor {
  const zeros = new Tensor(
    native.empty(
      shape.map((size, d) => (d === at ? length : size)),
      dtypeCode(like.dtype),
      deviceCode(like.device),
    ),
  );
  native.fill(zeros.handle, 0);
  return zeros;
}

/** Tensors of equal shape but for `dim`, one after the other; dtypes promote. */
export function cat(tensors: readonly Tensor[], dim: number): Tensor {
  const result = new Tensor(
    native.cat(
      tensors.map((tensor) => tensor.handle),
      dim,
    ),
  );
  const at = dimension("cat", dim, result.ndim);
  return recordOperation("cat", result, tensors, [], (g, needs) => {
    let start = 0;
    return tensors.map((tensor, i) => {
      const length = tensor.shape[at] as number;
      const piece = needs[i] === true ? slice(g, at, start, start + length) : undefined;
      start += length;
      return piece;
    });
  });
}

/** Tensors of one shape side by side along a new dimension. */
export function stack(tensors: readonly Tensor[], dim: number): Tensor {
  return cat(
    tensors.map((tensor) => unsqueeze(tensor, dim)),
    dim,
  );
}

/** Each element of dimension `dim` repeated `n` times in place (a copy). */
export function repeatInterleave(x: Tensor, n: number, dim: number): Tensor {
  const at = dimension("repeatInterleave", dim, x.ndim);
  const wide = expand(unsqueeze(x, at + 1), [...x.shape.slice(0, at + 1), n, ...x.shape.slice(at + 1)]);
  return reshape(
    wide,
    x.shape.map((size, d) => (d === at ? size * n : size)),
  );
}
