import { describe, expect, test } from "vitest";
import {
  add,
  cat,
  contiguous,
  type DType,
  expand,
  mul,
  permute,
  repeatInterleave,
  reshape,
  select,
  slice,
  split,
  squeeze,
  stack,
  sum,
  tensor,
  type Tensor,
  TensorError,
  transpose,
  unsqueeze,
  zeros,
} from "../src/index.ts";
import { checkOperation } from "./support/check-gradients.ts";
import { build, type DoubleArray, get, LAYOUTS, laidOut, randomArray, read } from "./support/double-array.ts";

const counting = (shape: number[], dtype: DType = "float32"): Tensor => {
  const count = shape.reduce((a, b) => a * b, 1);
  return tensor(
    Float32Array.from({ length: count }, (_, i) => i),
    { shape, dtype },
  );
};

// Every operation as a rearrangement: which element of the input stands at each place of the result.
interface Rearrangement {
  shape: number[];
  op: (x: Tensor) => Tensor;
  result: number[];
  source: (...place: number[]) => number[];
}
const linear = (shape: readonly number[], place: readonly number[]): number =>
  shape.reduce((offset, size, d) => offset * size + (place[d] as number), 0);
const unravel = (shape: readonly number[], offset: number): number[] => {
  const place: number[] = [];
  for (let d = shape.length - 1, rest = offset; d >= 0; d--) {
    place.unshift(rest % (shape[d] as number));
    rest = Math.floor(rest / (shape[d] as number));
  }
  return place;
};
const reshaped = (shape: number[], result: number[], asked: number[] = result): Rearrangement => ({
  shape,
  op: (x) => reshape(x, asked),
  result,
  source: (...place) => unravel(shape, linear(result, place)),
});

const CASES: Record<string, Rearrangement> = {
  "reshape to one dimension": reshaped([3, 4, 5], [60]),
  "reshape with an unknown size": reshaped([3, 4, 5], [6, 10], [6, -1]),
  "reshape that splits": reshaped([6, 4], [2, 3, 2, 2]),
  "reshape with sizes of 1": reshaped([3, 4], [1, 3, 1, 4, 1]),
  "reshape to a scalar": reshaped([1, 1], []),
  "reshape of a scalar": reshaped([], [1, 1]),
  permute: {
    shape: [2, 3, 4],
    op: (x) => permute(x, [2, 0, 1]),
    result: [4, 2, 3],
    source: (i, j, k) => [j, k, i],
  },
  "permute, counted from the end": {
    shape: [2, 3, 4],
    op: (x) => permute(x, [-1, -2, 0]),
    result: [4, 3, 2],
    source: (i, j, k) => [k, j, i],
  },
  transpose: {
    shape: [5, 123],
    op: (x) => transpose(x, 0, -1),
    result: [123, 5],
    source: (i, j) => [j, i],
  },
  expand: { shape: [3, 1], op: (x) => expand(x, [2, 3, 4]), result: [2, 3, 4], source: (_, j) => [j, 0] },
  "expand that keeps sizes": {
    shape: [3, 1],
    op: (x) => expand(x, [-1, 4]),
    result: [3, 4],
    source: (i) => [i, 0],
  },
  "unsqueeze in front": {
    shape: [3, 4],
    op: (x) => unsqueeze(x, 0),
    result: [1, 3, 4],
    source: (_, j, k) => [j, k],
  },
  "unsqueeze at the end": {
    shape: [3, 4],
    op: (x) => unsqueeze(x, -1),
    result: [3, 4, 1],
    source: (i, j) => [i, j],
  },
  squeeze: {
    shape: [3, 1, 4],
    op: (x) => squeeze(x, 1),
    result: [3, 4],
    source: (i, j) => [i, 0, j],
  },
  slice: {
    shape: [5, 23],
    op: (x) => slice(x, 1, 3, 20, 4),
    result: [5, 5],
    source: (i, j) => [i, 3 + 4 * j],
  },
  "slice with negative bounds": {
    shape: [7, 2],
    op: (x) => slice(x, -2, -5, -1),
    result: [4, 2],
    source: (i, j) => [2 + i, j],
  },
  "slice to the end": { shape: [4], op: (x) => slice(x, 0, 1), result: [3], source: (i) => [1 + i] },
  select: {
    shape: [2, 3, 4],
    op: (x) => select(x, 1, -1),
    result: [2, 4],
    source: (i, j) => [i, 2, j],
  },
  contiguous: {
    shape: [3, 4],
    op: (x) => contiguous(permute(x, [1, 0])),
    result: [4, 3],
    source: (i, j) => [j, i],
  },
  repeatInterleave: {
    shape: [2, 3],
    op: (x) => repeatInterleave(x, 2, 0),
    result: [4, 3],
    source: (i, j) => [Math.floor(i / 2), j],
  },
  "repeatInterleave of the last dimension": {
    shape: [2, 3],
    op: (x) => repeatInterleave(x, 3, -1),
    result: [2, 9],
    source: (i, j) => [i, Math.floor(j / 3)],
  },
  "the second piece of a split": {
    shape: [2, 7],
    op: (x) => split(x, 3, 1)[1] as Tensor,
    result: [2, 3],
    source: (i, j) => [i, 3 + j],
  },
  "a composition": {
    shape: [4, 6],
    op: (x) => reshape(transpose(reshape(x, [4, 2, 3]), 0, 1), [8, 3]),
    result: [8, 3],
    source: (i, j) => [i % 4, Math.floor(i / 4) * 3 + j],
  },
};

test.each(Object.entries(CASES))(
  "%s: values and gradient in every dtype and layout",
  (_, { shape, op, result, source }) => {
    checkOperation({
      op,
      reference: (x) => build(result, (...place) => get(x, ...source(...place))),
      inputs: [randomArray(shape)],
      roundings: 0,
    });
  },
);

test.each(Object.entries(CASES))("%s: integers and bool", (_, { shape, op, result, source }) => {
  for (const dtype of ["int32", "int64", "uint8", "bool"] as const) {
    for (const layout of LAYOUTS) {
      const x = laidOut(read(counting(shape)), layout, { dtype });
      const expected = build(result, (...place) => get(read(x), ...source(...place)));
      expect(op(x).dtype).toBe(dtype);
      expect(op(x).toArray()).toEqual(Array.from(expected.data));
    }
  }
});

describe("views", () => {
  test("share memory with their tensor", () => {
    const x = zeros([2, 3]);
    for (const view of [
      reshape(x, [6]),
      transpose(x, 0, 1),
      slice(x, 1, 1),
      select(x, 0, 1),
      unsqueeze(x, 0),
      expand(x, [2, 2, 3]),
    ]) {
      view.copyFrom(tensor([1]));
      expect(sum(x).item()).toBeGreaterThan(0);
      x.copyFrom(tensor([0]));
      expect(sum(view).item()).toBe(0);
    }
  });
  test("reshape copies only where strides allow no view", () => {
    const x = counting([4, 6]);
    const turned = transpose(x, 0, 1);
    const cut = reshape(turned, [3, 2, 4]);
    expect(cut.strides).toEqual([2, 1, 6]);
    const flat = reshape(turned, [24]);
    expect(flat.isContiguous).toBe(true);
    flat.copyFrom(tensor([0]));
    expect(sum(x).item()).toBe(276);
    expect(reshape(slice(x, 0, 1, 3), [12]).toArray()).toEqual(Array.from({ length: 12 }, (_, i) => i + 6));
    expect(reshape(slice(x, 1, 0, 6, 2), [12]).toArray()).toEqual(x.toArray().filter((i) => i % 2 === 0));
    expect(contiguous(x)).toBe(x);
  });
  test("no elements", () => {
    const x = zeros([0, 3]);
    expect(reshape(x, [3, 0, 2]).shape).toEqual([3, 0, 2]);
    expect(transpose(x, 0, 1).shape).toEqual([3, 0]);
    expect(slice(zeros([4]), 0, 2, 2).shape).toEqual([0]);
    expect(slice(zeros([4]), 0, 9, 12).shape).toEqual([0]);
    expect(slice(zeros([4]), 0, 3, 1).shape).toEqual([0]);
    expect(expand(zeros([1, 0]), [5, 0]).shape).toEqual([5, 0]);
    expect(contiguous(transpose(x, 0, 1)).toArray()).toEqual([]);
    expect(repeatInterleave(x, 2, 0).shape).toEqual([0, 3]);
  });
  test("an empty slice sends back zeros", () => {
    const x = tensor([1, 2, 3], { requiresGrad: true });
    add(sum(slice(x, 0, 1, 1)), sum(x)).backward();
    expect(x.grad?.toArray()).toEqual([1, 1, 1]);
  });
});

describe("cat, stack and split", () => {
  test.each([0, 1, -1])("cat along %i: values and every gradient", (dim) => {
    const along = dim < 0 ? 1 : dim;
    const sizes = [2, 1, 3];
    const shape = (size: number): number[] => (along === 0 ? [size, 4] : [4, size]);
    checkOperation({
      op: (...parts) => cat(parts, dim),
      reference: (...parts) =>
        build(shape(6), (...place) => {
          let at = place[along] as number;
          const part = sizes.findIndex((size) => at < size || ((at -= size), false));
          return get(parts[part] as DoubleArray, ...place.map((k, d) => (d === along ? at : k)));
        }),
      inputs: sizes.map((size, i) => randomArray(shape(size), { seed: i + 1 })),
      roundings: 0,
    });
  });
  test("stack: values and every gradient", () => {
    checkOperation({
      op: (a, b) => stack([a, b], 1),
      reference: (a, b) => build([5, 2, 3], (i, which, k) => get(which === 0 ? a : b, i, k)),
      inputs: [randomArray([5, 3]), randomArray([5, 3], { seed: 2 })],
      roundings: 0,
    });
  });
  test("split undoes cat; sizes may be given", () => {
    const x = counting([2, 7]);
    expect(split(x, 3, 1).map(({ shape }) => shape[1])).toEqual([3, 3, 1]);
    expect(cat(split(x, [1, 0, 6], 1), 1).toArray()).toEqual(x.toArray());
    expect(split(x, 2, 0)).toHaveLength(1);
    const leaf = tensor([1, 2, 3, 4], { requiresGrad: true });
    const [left, right] = split(leaf, 2, 0) as [Tensor, Tensor];
    sum(mul(left, right)).backward();
    expect(leaf.grad?.toArray()).toEqual([3, 4, 1, 2]);
  });
  test("dtypes promote, and gradients have the dtype of their part", () => {
    const a = tensor([1, 2], { dtype: "bfloat16", requiresGrad: true });
    const b = tensor([3], { requiresGrad: true });
    const joined = cat([a, b], 0);
    expect(joined.dtype).toBe("float32");
    sum(mul(joined, tensor([2, 3, 4]))).backward();
    expect([a.grad?.dtype, b.grad?.dtype]).toEqual(["bfloat16", "float32"]);
    expect([a.grad?.toArray(), b.grad?.toArray()]).toEqual([[2, 3], [4]]);
    expect(cat([tensor([1], { dtype: "int32" }), tensor([2], { dtype: "int64" })], 0).dtype).toBe("int64");
  });
  test("only parts that need a gradient get one", () => {
    const a = tensor([1], { requiresGrad: true });
    const b = tensor([2]);
    sum(cat([a, b], 0)).backward();
    expect(a.grad?.toArray()).toEqual([1]);
    expect(b.grad).toBeUndefined();
  });
  test("empty parts", () => {
    expect(cat([zeros([0, 2]), counting([1, 2]), zeros([0, 2])], 0).toArray()).toEqual([0, 1]);
    expect(cat([zeros([0])], 0).shape).toEqual([0]);
  });
});

test.each([
  ["reshape to another size", () => reshape(zeros([2, 3]), [4]), /\[2, 3\] \(6 elements\) does not fit into \[4\]/],
  ["reshape with an unknown that does not divide", () => reshape(zeros([2, 3]), [4, -1]), /does not fit/],
  ["permute without every dimension", () => permute(zeros([2, 3]), [0, 0]), /\[0, 0\] is no order of 2 dimensions/],
  ["transpose out of range", () => transpose(zeros([2, 3]), 0, 2), /transpose|permute/],
  ["expand of a size above 1", () => expand(zeros([2]), [3]), /\[2\] does not expand to \[3\]/],
  ["expand to fewer dimensions", () => expand(zeros([2, 2]), [2]), /more dimensions/],
  ["squeeze of a size above 1", () => squeeze(zeros([2]), 0), /dimension 0 of \[2\] is not 1/],
  ["slice with a step of 0", () => slice(zeros([2]), 0, 0, 2, 0), /positive integer/],
  ["slice out of range", () => slice(zeros([2]), 1, 0), /dimension 1 is out of range/],
  ["slice with a fractional bound", () => slice(zeros([4]), 0, 0.5), /no integers/],
  ["select out of range", () => select(zeros([2, 3]), 1, 3), /index 3 is out of range for dimension 1 of \[2, 3\]/],
  ["split with sizes that do not add up", () => split(zeros([4]), [1, 2], 0), /do not add up to 4/],
  ["split by 0", () => split(zeros([4]), 0, 0), /must be positive/],
  ["cat of nothing", () => cat([], 0), /at least one tensor/],
  ["cat of shapes that differ", () => cat([zeros([2, 3]), zeros([2, 4])], 0), /\[2, 3\] and \[2, 4\] differ/],
  ["stack of shapes that differ", () => stack([zeros([2]), zeros([3])], 0), /differ/],
])("%s is an error", (_, body, message) => {
  expect(body).toThrow(TensorError);
  expect(body).toThrow(message);
});
