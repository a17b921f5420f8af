import { expectClose } from "@fms-accel/test-utilities";
import { describe, expect, test } from "vitest";
import {
  cast,
  logSoftmax,
  mul,
  setNumThreads,
  softmax,
  sum,
  tensor,
  type Tensor,
  TensorError,
  zeros,
} from "../src/index.ts";
import { checkOperation } from "./support/check-gradients.ts";
import { build, type DoubleArray, get, randomArray, read } from "./support/double-array.ts";
import { randomTensor } from "./support/random-tensor.ts";

function exact(x: DoubleArray, dim: number, logarithm: boolean): DoubleArray {
  const along = dim < 0 ? dim + x.shape.length : dim;
  const rows = new Map<string, { largest: number; total: number }>();
  return build(x.shape, (...index) => {
    const key = index.map((k, d) => (d === along ? 0 : k)).join();
    let row = rows.get(key);
    if (row === undefined) {
      const size = x.shape[along] as number;
      const values = Array.from({ length: size }, (_, i) => get(x, ...index.map((k, d) => (d === along ? i : k))));
      const largest = values.reduce((a, b) => Math.max(a, b));
      row = { largest, total: values.reduce((sum, value) => sum + Math.exp(value - largest), 0) };
      rows.set(key, row);
    }
    const value = get(x, ...index) - row.largest;
    return logarithm ? value - Math.log(row.total) : Math.exp(value) / row.total;
  });
}

describe.each([
  ["softmax", softmax, false],
  ["logSoftmax", logSoftmax, true],
] as const)("%s", (name, op, logarithm) => {
  test.each([
    [[1], 0],
    [[7], -1],
    [[5, 123], 1],
    [[5, 123], 0],
    [[2, 3, 4], 1],
    [[2, 3, 4], -3],
    [[3, 1], 1],
  ] as [number[], number][])("shape %j along %i: values and gradient in every dtype and layout", (shape, dim) => {
    checkOperation({
      op: (x) => op(x, dim),
      reference: (x) => exact(x, dim, logarithm),
      inputs: [randomArray(shape, { low: -4, high: 4 })],
    });
  });

  test.each([1, 2, 1023, 1024, 1025, 130_000])("a row of %i", (length) => {
    const values = randomArray([2, length], { low: -9, high: 9 });
    const x = tensor(values.data, { shape: values.shape });
    // x less the largest element lies in [-18, 0] and has an error of up to 2^-20, which the exponential makes a relative one.
    expectClose(op(x, 1).toArray(), exact(read(x), 1, logarithm).data, { relative: 2 ** -20 + 2e-7 });
  });

  test("the result may have another dtype; the gradient has that of x", () => {
    const x = randomTensor([3, 40], { dtype: "bfloat16", requiresGrad: true });
    const y = op(x, -1, "float32");
    expect(y.dtype).toBe("float32");
    expectClose(y.toArray(), op(cast(x, "float32"), -1).toArray(), {});
    sum(mul(y, randomTensor([3, 40], { seed: 2 }))).backward();
    expect(x.grad?.dtype).toBe("bfloat16");
    expect(op(tensor([1, 2], { dtype: "int32" }), 0, "float32").dtype).toBe("float32");
    expect(() => op(tensor([1, 2], { dtype: "int32" }), 0)).toThrow(TensorError);
  });

  test("infinities and NaN as in torch", () => {
    const rows = (values: number[][]): number[] => op(tensor(values), 1).toArray();
    expect(rows([[-Infinity, -Infinity]])).toEqual([NaN, NaN]);
    expect(rows([[-Infinity, 0]])).toEqual(logarithm ? [-Infinity, 0] : [0, 1]);
    expect(rows([[NaN, 0]])).toEqual([NaN, NaN]);
    expect(rows([[Infinity, 0]])[0]).toBeNaN();
  });

  test("large values do not overflow", () => {
    const y = op(tensor([1000, 1001, -1000]), 0).toArray();
    const share = 1 / (1 + Math.exp(1));
    expectClose(
      y,
      logarithm ? [Math.log(share), Math.log(1 - share), -2001 + Math.log(1 - share)] : [share, 1 - share, 0],
      {
        relative: 1e-6,
      },
    );
  });

  test("no elements, and wrong dimensions", () => {
    expect(op(zeros([0, 3]), 1).shape).toEqual([0, 3]);
    expect(op(zeros([3, 0]), 1).shape).toEqual([3, 0]);
    expect(() => op(zeros([3]), 1)).toThrow(new RegExp(`${name}: dimension 1 is out of range`));
  });

  test("the same bits for every number of threads", () => {
    const results = [1, 3].map((threads) => {
      setNumThreads(threads);
      const x = randomTensor([300, 515], { requiresGrad: true });
      const y = op(x, 1);
      sum(mul(y, y)).backward();
      return [y.toArray(), (x.grad as Tensor).toArray()];
    });
    setNumThreads(2);
    expect(results[1]).toEqual(results[0]);
  });
});
