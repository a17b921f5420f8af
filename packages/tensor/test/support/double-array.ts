import { type DType, permute, slice, tensor, Tensor } from "../../src/index.ts";
import { randomNumbers } from "./random-tensor.ts";

/** What references compute with: float64 in row-major order. */
export interface DoubleArray {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Each index of a shape, in row-major order. */
export function* indices(shape: readonly number[]): Iterable<number[]> {
  const count = sizeOf(shape);
  for (let linear = 0; linear < count; linear++) {
    const index = Array.from({ length: shape.length }, () => 0);
    for (let d = shape.length - 1, rest = linear; d >= 0; d--) {
      const size = shape[d] as number;
      index[d] = rest % size;
      rest = Math.floor(rest / size);
    }
    yield index;
  }
}

export function build(shape: readonly number[], value: (...index: number[]) => number): DoubleArray {
  return { shape, data: Float64Array.from(indices(shape), (index) => value(...index)) };
}

/** The element at `index`; indices align at the end, and dimensions of size 1 broadcast. */
export function get(array: DoubleArray, ...index: number[]): number {
  let offset = 0;
  const added = index.length - array.shape.length;
  array.shape.forEach((size, d) => (offset = offset * size + (size === 1 ? 0 : (index[d + added] as number))));
  return array.data[offset] as number;
}

export function broadcastShape(...arrays: readonly DoubleArray[]): number[] {
  const ndim = Math.max(...arrays.map(({ shape }) => shape.length));
  return Array.from({ length: ndim }, (_, d) =>
    arrays.reduce((size, { shape }) => {
      const own = shape[d - (ndim - shape.length)] ?? 1;
      return size === 1 ? own : size;
    }, 1),
  );
}

/** A reference of one operand, element by element. */
export function mapped(f: (x: number) => number): (x: DoubleArray) => DoubleArray {
  return (x) => ({ shape: x.shape, data: x.data.map(f) });
}

/** A reference of several operands that broadcast. */
export function zipped(f: (...values: number[]) => number): (...arrays: DoubleArray[]) => DoubleArray {
  return (...arrays) =>
    build(broadcastShape(...arrays), (...index) => f(...arrays.map((array) => get(array, ...index))));
}

/** The exact elements of a tensor. */
export function read(x: Tensor): DoubleArray {
  return { shape: x.shape, data: Float64Array.from(x.toArray()) };
}

export const LAYOUTS = ["contiguous", "transposed", "sliced"] as const;
export type Layout = (typeof LAYOUTS)[number];

/** A leaf with these values whose elements lie in memory as `layout` says. */
export function laidOut(
  values: DoubleArray,
  layout: Layout,
  { dtype = "float32", requiresGrad = false }: { dtype?: DType; requiresGrad?: boolean } = {},
): Tensor {
  const { shape, data } = values;
  const dims = shape.map((_, d) => d);
  let view: Tensor;
  if (layout === "contiguous" || shape.length === 0) {
    view = tensor(data, { shape, dtype });
  } else if (layout === "transposed") {
    const reversed = build([...shape].reverse(), (...index) => get(values, ...index.reverse()));
    view = permute(tensor(reversed.data, { shape: reversed.shape, dtype }), [...dims].reverse());
  } else {
    // Every second element of something larger, with other numbers in between.
    const wide = shape.map((size, d) => (d === shape.length - 1 ? 2 * size + 1 : size + 1));
    const padded = build(wide, (...index) => {
      const last = index.at(-1) as number;
      const inside = index.every((i, d) => (d === shape.length - 1 ? i % 2 === 1 : i < (shape[d] as number)));
      return inside ? get(values, ...index.slice(0, -1), (last - 1) / 2) : 77;
    });
    view = tensor(padded.data, { shape: wide, dtype });
    for (const d of dims) {
      view = d === shape.length - 1 ? slice(view, d, 1, 2 * (shape[d] as number) + 1, 2) : slice(view, d, 0, shape[d]);
    }
  }
  view.requiresGrad = requiresGrad;
  return view;
}

/** Reproducible values between `low` and `high`. */
export function randomArray(shape: readonly number[], { seed = 1, low = -1, high = 1 } = {}): DoubleArray {
  return { shape, data: randomNumbers(sizeOf(shape), seed).map((x) => low + ((x + 1) / 2) * (high - low)) };
}
