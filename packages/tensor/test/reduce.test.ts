import { expectClose } from "@fms-accel/test-utilities";
import { describe, expect, test } from "vitest";
import {
  amax,
  amin,
  argmax,
  cast,
  cumsum,
  type Dims,
  type DType,
  expand,
  globalNorm,
  logsumexp,
  mean,
  mul,
  norm2,
  permute,
  setNumThreads,
  slice,
  sum,
  sumTo,
  tensor,
  type Tensor,
  TensorError,
  zeros,
} from "../src/index.ts";
import { checkOperation } from "./support/check-gradients.ts";
import {
  build,
  type DoubleArray,
  get,
  indices,
  LAYOUTS,
  laidOut,
  randomArray,
  read,
  sizeOf,
} from "./support/double-array.ts";
import { randomTensor } from "./support/random-tensor.ts";

// Which result each element goes into, and the shape of the result.
const plans = new Map<string, { groups: number[]; kept: number[]; shape: number[] }>();
function planOf(shape: readonly number[], dim: Dims): { groups: number[]; kept: number[]; shape: number[] } {
  const key = JSON.stringify([shape, dim]);
  let plan = plans.get(key);
  if (plan === undefined) {
    const dims = (dim === undefined ? shape.map((_, d) => d) : typeof dim === "number" ? [dim] : dim).map((d) =>
      d < 0 ? d + shape.length : d,
    );
    const kept = shape.map((size, d) => (dims.includes(d) ? 1 : size));
    const groups = Array.from(indices(shape), (index) =>
      index.reduce((offset, i, d) => offset * (kept[d] as number) + (dims.includes(d) ? 0 : i), 0),
    );
    plan = { groups, kept, shape: kept.filter((_, d) => !dims.includes(d)) };
    plans.set(key, plan);
  }
  return plan;
}

/** Reduces the elements that share a kept index. */
function reduced(x: DoubleArray, dim: Dims, keepdim: boolean, f: (values: number[]) => number): DoubleArray {
  const { groups, kept, shape } = planOf(x.shape, dim);
  const members = Array.from({ length: sizeOf(kept) }, (): number[] => []);
  groups.forEach((group, i) => members[group]?.push(x.data[i] as number));
  return { shape: keepdim ? kept : shape, data: Float64Array.from(members, f) };
}

const total = (values: number[]): number => values.reduce((a, b) => a + b, 0);
const logSum = (values: number[]): number => {
  const largest = Math.max(...values);
  return largest + Math.log(total(values.map((x) => Math.exp(x - largest))));
};

interface LargeInput {
  contiguous: Tensor;
  transposed: Tensor;
  values: DoubleArray;
}
const largeInputs = new Map<string, LargeInput>();
/** Positive numbers; made once for all reductions. */
function largeInput(shape: readonly number[]): LargeInput {
  let made = largeInputs.get(shape.join());
  if (made === undefined) {
    const array = randomArray(shape, { low: 0, high: 1 });
    const contiguous = laidOut(array, "contiguous");
    made = { contiguous, transposed: laidOut(array, "transposed"), values: read(contiguous) };
    largeInputs.set(shape.join(), made);
  }
  return made;
}

type Reduction = [op: (x: Tensor, dim?: Dims, keepdim?: boolean) => Tensor, f: (values: number[]) => number];
const REDUCTIONS: Record<string, Reduction> = {
  sum: [sum, total],
  mean: [mean, (values) => total(values) / values.length],
  amax: [amax, (values) => Math.max(...values)],
  amin: [amin, (values) => Math.min(...values)],
  logsumexp: [logsumexp, logSum],
};

const CASES: [shape: number[], dim: Dims][] = [
  [[], undefined],
  [[1], 0],
  [[7], undefined],
  [[5, 123], 0],
  [[5, 123], 1],
  [[5, 123], -1],
  [[5, 123], undefined],
  [[3, 4, 5], 1],
  [
    [3, 4, 5],
    [0, 2],
  ],
  [
    [3, 4, 5],
    [0, 1],
  ],
  [
    [3, 4, 5],
    [-1, 1],
  ],
  [[3, 4, 5], []],
  [[2, 1, 9, 3], 2],
  [[40, 3], 0],
  [[2, 40], 1],
];

describe.each(Object.entries(REDUCTIONS))("%s", (_, [op, f]) => {
  test.each(CASES)("shape %j over %j: values and gradient in every dtype and layout", (shape, dim) => {
    checkOperation({
      op: (x) => op(x, dim),
      reference: (x) => reduced(x, dim, false, f),
      inputs: [randomArray(shape)],
    });
    checkOperation({
      op: (x) => op(x, dim, true),
      reference: (x) => reduced(x, dim, true, f),
      inputs: [randomArray(shape)],
      dtypes: ["float32"],
      layouts: ["sliced"],
    });
  });

  // One rounding of float32 is 6e-8 at most; a mean and a logarithm take two. Long rows are cut into blocks and columns into panels; the sizes lie around those limits.
  test.each([
    [[3, 70_001], 1],
    [[70_001], undefined],
    [[2500, 3], 0],
    [[700, 515], 0],
    [[700, 515], 1],
    [[2, 300, 40], 1],
    [[40, 300, 2], 1],
    [[5000, 8], 1],
    [[20_000, 2], 1],
  ] as [number[], Dims][])("shape %j over %j is rounded once", (shape, dim) => {
    const { contiguous, transposed, values } = largeInput(shape);
    const exact = reduced(values, dim, false, f).data;
    expectClose(op(contiguous, dim).toFloat32Array(), exact, { relative: 1.2e-7 });
    expectClose(op(transposed, dim).toFloat32Array(), exact, { relative: 1.2e-7 });
  });

  test("the same bits for every number of threads", () => {
    const x = randomTensor([700, 515]);
    const dims: Dims[] = [0, 1, undefined];
    const results = [1, 2, 3].map((threads) => {
      setNumThreads(threads);
      return dims.map((dim) => op(x, dim).toArray());
    });
    setNumThreads(2);
    expect(results[1]).toEqual(results[0]);
    expect(results[2]).toEqual(results[0]);
  });

  test("NaN spreads", () => {
    const x = tensor([1, NaN, 2, 3, 4, 5], { shape: [2, 3] });
    expect(op(x, 1).toArray()[0]).toBeNaN();
    expect(op(x, 1).toArray()[1]).not.toBeNaN();
    expect(op(x, 0).toArray()[1]).toBeNaN();
  });

  test("wrong dimensions", () => {
    expect(() => op(zeros([2, 3]), 2)).toThrow(TensorError);
    expect(() => op(zeros([2, 3]), -3)).toThrow(/dimension -3 is out of range for 2 dimensions/);
    expect(() => op(zeros([2, 3]), [1, -1])).toThrow(/stands twice/);
    expect(() => op(zeros([2, 3]), 0.5)).toThrow(TensorError);
  });
});

test("no elements: sums are 0, means NaN, logsumexp -Infinity, extremes an error", () => {
  expect(sum(zeros([0, 3]), 0).toArray()).toEqual([0, 0, 0]);
  expect(sum(zeros([0])).item()).toBe(0);
  expect(mean(zeros([0])).item()).toBeNaN();
  expect(logsumexp(zeros([0, 2]), 0).toArray()).toEqual([-Infinity, -Infinity]);
  expect(() => amax(zeros([2, 0]), 1)).toThrow(/amax: shape \[2, 0\] has no elements/);
  expect(() => amin(zeros([0]))).toThrow(TensorError);
  expect(() => argmax(zeros([0]), 0)).toThrow(TensorError);
  expect(sum(zeros([0, 3]), 1).shape).toEqual([0]);
  expect(amax(zeros([0, 3]), 1).shape).toEqual([0]);
});

test("integers and bool: sums are exact int64, means float32, extremes keep the dtype", () => {
  for (const dtype of ["int32", "int64", "uint8", "bool"] as const) {
    const x = tensor([1, 1, 0, 1, 1, 0], { dtype, shape: [2, 3] });
    expect(sum(x).dtype).toBe("int64");
    expect(sum(x).item()).toBe(4);
    expect(mean(x, 1).dtype).toBe("float32");
    expectClose(mean(x, 1).toArray(), [2 / 3, 2 / 3], { relative: 1e-7 });
    expect(amax(x, 1).dtype).toBe(dtype);
    expect(amax(x, 0).toArray()).toEqual([1, 1, 0]);
    expect(amin(x, 0).toArray()).toEqual([1, 1, 0]);
  }
  const large = tensor(Int32Array.from([2 ** 31 - 1, 2 ** 31 - 1, -5]));
  expect(sum(large).item()).toBe(2 ** 32 - 7);
  expect(amax(tensor(BigInt64Array.from([-(2n ** 60n), -(2n ** 61n)]))).item()).toBe(-(2 ** 60));
});

test("a sum of many float16 numbers does not overflow on the way, and is rounded once", () => {
  const x = cast(tensor(Float32Array.from({ length: 4000 }, (_, i) => (i % 2 === 0 ? 1000 : -999.5))), "float16");
  expect(sum(x).item()).toBe(1000);
  expect(mean(cast(tensor(Float32Array.from({ length: 300 }, () => 60000)), "float16")).item()).toBe(60000);
});

test("a large sum keeps small addends", () => {
  const x = new Float32Array(1 << 20).fill(1e-4);
  x[0] = 1e4;
  let exact = 0;
  for (const value of x) exact += value;
  expectClose([sum(tensor(x)).item()], [exact], { relative: 1e-7 });
});

test("equal extremes share the gradient", () => {
  const x = tensor([2, 1, 2, 0, 0, 0], { shape: [2, 3], requiresGrad: true });
  sum(amax(x, 1)).backward();
  expectClose(x.grad?.toArray() ?? [], [0.5, 0, 0.5, 1 / 3, 1 / 3, 1 / 3], { relative: 1e-7 });
});

test("expanded operands count every repetition", () => {
  const x = tensor([1, 2, 3], { requiresGrad: true });
  const wide = expand(x, [4, 3]);
  expect(sum(wide, 0).toArray()).toEqual([4, 8, 12]);
  expect(sum(wide, 1).toArray()).toEqual([6, 6, 6, 6]);
  sum(wide).backward();
  expect(x.grad?.toArray()).toEqual([4, 4, 4]);
});

// ---- argmax, cumsum ------------------------------------------------------------------------------------------------------------

describe("argmax", () => {
  test.each([0, 1, 2])("dimension %i, every layout and dtype", (dim) => {
    const values = randomArray([4, 5, 6], { low: 0, high: 255 });
    values.data.forEach((x, i, data) => (data[i] = Math.floor(x)));
    for (const dtype of ["float32", "float16", "bfloat16", "int32", "int64", "uint8"] as DType[]) {
      for (const layout of LAYOUTS) {
        const x = laidOut(values, layout, { dtype });
        const expected = reduced(read(x), dim, false, (row) => row.indexOf(Math.max(...row)));
        const actual = argmax(x, dim);
        expect(actual.dtype).toBe("int64");
        expect(actual.shape).toEqual(expected.shape);
        expect(actual.toArray(), `${dtype}, ${layout}`).toEqual(Array.from(expected.data));
        expect(argmax(x, dim, true).shape[dim]).toBe(1);
      }
    }
  });
  test("over all elements, in long rows, first of equals, NaN first", () => {
    const long = new Float32Array(5000).fill(1);
    long[3210] = 2;
    long[4000] = 2;
    expect(argmax(tensor(long)).item()).toBe(3210);
    expect(argmax(tensor(long, { shape: [2, 2500] }), 1).toArray()).toEqual([0, 710]);
    expect(argmax(permute(tensor([1, 5, 2, 5], { shape: [2, 2] }), [1, 0])).item()).toBe(2);
    expect(argmax(tensor([1, NaN, 7, NaN])).item()).toBe(1);
    expect(argmax(tensor([-Infinity, -Infinity])).item()).toBe(0);
    long[4500] = NaN;
    expect(argmax(tensor(long), 0).item()).toBe(4500);
  });
});

describe("cumsum", () => {
  const running = (x: DoubleArray, dim: number): DoubleArray =>
    build(x.shape, (...index) => {
      let value = 0;
      for (let i = 0; i <= (index[dim] as number); i++) value += get(x, ...index.map((k, d) => (d === dim ? i : k)));
      return value;
    });
  test.each([
    [[7], 0],
    [[5, 43], 0],
    [[5, 43], 1],
    [[3, 4, 5], 1],
    [[1, 1], 0],
  ] as [number[], number][])("shape %j along %i: values and gradient in every dtype and layout", (shape, dim) => {
    checkOperation({
      op: (x) => cumsum(x, dim),
      reference: (x) => running(x, dim),
      inputs: [randomArray(shape)],
    });
  });
  test("long rows, from the front and (the gradient) from the back", () => {
    const x = randomTensor([2, 3001], { requiresGrad: true });
    const y = cumsum(x, 1);
    let exact = 0;
    const values = x.toArray();
    expectClose(
      y.toArray(),
      values.map((value, i) => (exact = i % 3001 === 0 ? value : exact + value)),
      { absolute: 2e-6 },
    );
    sum(y).backward();
    expect(x.grad?.toArray()).toEqual(values.map((_, i) => 3001 - (i % 3001)));
  });
  test("integers are exact int64; no elements; wrong dimension", () => {
    const x = cumsum(tensor([1, 2, 3], { dtype: "int32" }), 0);
    expect(x.dtype).toBe("int64");
    expect(x.toArray()).toEqual([1, 3, 6]);
    expect(cumsum(tensor([1, 0, 1], { dtype: "bool" }), -1).toArray()).toEqual([1, 1, 2]);
    expect(cumsum(zeros([0, 2]), 0).shape).toEqual([0, 2]);
    expect(() => cumsum(zeros([2]), 1)).toThrow(TensorError);
  });
  test("more lines than one panel", () => {
    const x = randomTensor([3, 1300]);
    const columns = cumsum(x, 0).toArray();
    expect(columns.slice(0, 1300)).toEqual(slice(x, 0, 0, 1).toArray());
    expectClose(columns.slice(2600), sum(x, 0).toArray(), { absolute: 1e-6 });
  });
});

// ---- sumTo, norms --------------------------------------------------------------------------------------------------------------

test("sumTo sums what broadcasting added, and gives the tensor itself where it added nothing", () => {
  const g = randomTensor([2, 3, 4]);
  expect(sumTo(g, [2, 3, 4])).toBe(g);
  for (const [shape, dims] of [
    [[4], [0, 1]],
    [
      [3, 1],
      [0, 2],
    ],
    [[1, 3, 4], [0]],
    [
      [2, 1, 1],
      [1, 2],
    ],
    [[], undefined],
    [[1, 1, 1], undefined],
  ] as [number[], Dims][]) {
    expect(sumTo(g, shape).shape).toEqual(shape);
    expectClose(sumTo(g, shape).toArray(), sum(g, dims).toArray(), { absolute: 1e-6 });
  }
  expect(sumTo(cast(g, "bfloat16"), [4]).dtype).toBe("bfloat16");
  expect(() => sumTo(g, [2, 4])).toThrow(/was not broadcast from/);
});

test("norms", () => {
  checkOperation({
    op: norm2,
    reference: (x) => ({ shape: [], data: Float64Array.of(Math.hypot(...x.data)) }),
    inputs: [randomArray([5, 23])],
    resultDtype: "float32",
  });
  const zero = tensor([0, 0], { requiresGrad: true });
  norm2(zero).backward();
  expect(zero.grad?.toArray()).toEqual([0, 0]);
  expect(globalNorm([])).toBe(0);
  expectClose([globalNorm([tensor([3e30]), tensor([4e30]), zeros([0])])], [5e30], { relative: 1e-7 });
  expectClose([globalNorm([mul(tensor([3, 4]), 1e-30)])], [5e-30], { relative: 2e-7 });
  const list = [
    randomTensor([70_000]),
    permute(randomTensor([3, 50], { seed: 5 }), [1, 0]),
    randomTensor([9], { dtype: "bfloat16" }),
  ];
  const exact = Math.hypot(...list.map((x) => Math.sqrt(total(x.toArray().map((value) => value * value)))));
  expectClose([globalNorm(list)], [exact], { relative: 1e-7 });
  expect(() => globalNorm([tensor([1], { dtype: "int32" })])).toThrow(TensorError);
});
