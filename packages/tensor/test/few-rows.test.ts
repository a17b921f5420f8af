// `linear` of one position of a few sequences, where nothing is recorded: by a kernel of its own (native/cpu/few_rows.h).
import { relativeDifference } from "@fms-accel/test-utilities";
import { describe, expect, test } from "vitest";
import {
  autocast,
  type DType,
  linear,
  memoryStats,
  noGrad,
  reshape,
  scope,
  setNumThreads,
  slice,
  type Tensor,
  tensor,
  transpose,
} from "../src/index.ts";
import { randomTensor } from "./support/random-tensor.ts";

const FLOATING: readonly DType[] = ["float32", "bfloat16", "float16"];
const TOLERANCE: Record<string, number> = { float32: 1e-6, bfloat16: 4e-3, float16: 1e-3 };
const LENGTHS = [1, 2, 15, 16, 31, 33, 63, 64, 65, 127, 129, 576, 1537];

/** [m, k] as one position of m sequences. */
function positions(x: Tensor): Tensor {
  return reshape(x, [x.shape[0] as number, 1, x.shape[1] as number]);
}

/** x · weightᵀ + bias in float64. */
function reference(x: Float32Array, weight: Float32Array, bias: Float32Array | undefined, k: number): Float64Array {
  const [m, n] = [x.length / k, weight.length / k];
  return Float64Array.from({ length: m * n }, (_, at) => {
    const [row, column] = [Math.floor(at / n), at % n];
    let total = bias?.[column] ?? 0;
    for (let l = 0; l < k; l++) total += (x[row * k + l] as number) * (weight[column * k + l] as number);
    return total;
  });
}

describe.each(FLOATING)("linear of few rows in %s", (dtype) => {
  test.each(LENGTHS)("%i columns of x: 1 to 9 rows, with and without bias", (k) => {
    for (let m = 1; m <= 9; m++) {
      const n = [1, 3, 37, 130][m % 4] as number;
      const x = randomTensor([m, k], { seed: m, dtype });
      const weight = randomTensor([n, k], { seed: 20 + m, dtype });
      const bias = m % 2 === 0 ? randomTensor([n], { seed: 40 + m, dtype }) : undefined;
      const y = linear(positions(x), weight, bias);
      expect(y.shape).toEqual([m, 1, n]);
      expect(y.dtype).toBe(dtype);
      const expected = reference(x.toFloat32Array(), weight.toFloat32Array(), bias?.toFloat32Array(), k);
      expect(relativeDifference(y.toFloat32Array(), expected), `${m} rows`).toBeLessThan(TOLERANCE[dtype] as number);
    }
  });

  test("a weight of another dtype is rounded to that of x; leading dimensions are rows", () => {
    for (const stored of FLOATING) {
      const x = randomTensor([2, 1, 3, 70], { seed: 1, dtype });
      const weight = randomTensor([19, 70], { seed: 2, dtype: stored });
      const y = linear(x, weight);
      expect(y.shape).toEqual([2, 1, 3, 19]);
      const expected = reference(x.toFloat32Array(), weight.toFloat32Array(), undefined, 70);
      // Two of three dtypes may round the weight.
      expect(relativeDifference(y.toFloat32Array(), expected)).toBeLessThan(2 * (TOLERANCE["bfloat16"] as number));
    }
  });
});

test("a row has the same bits in any company of up to eight, on any number of threads", () => {
  for (const dtype of FLOATING) {
    const x = randomTensor([8, 577], { seed: 3, dtype });
    const weight = randomTensor([700, 577], { seed: 4, dtype });
    setNumThreads(1);
    const together = linear(positions(x), weight);
    for (const threads of [1, 2, 3]) {
      setNumThreads(threads);
      for (let count = 1; count <= 8; count++) {
        const some = linear(positions(slice(x, 0, 8 - count, 8)), weight);
        expect(some.toBytes(), `${dtype}: ${count} rows, ${threads} threads`).toEqual(
          slice(together, 0, 8 - count, 8).toBytes(),
        );
      }
    }
  }
  setNumThreads(2);
});

test("views: rows of x that are not contiguous, a weight with room between its rows, a weight stored by columns", () => {
  const x = slice(randomTensor([3, 2, 64], { seed: 5 }), 1, 0, 1);
  const wide = randomTensor([33, 80], { seed: 6 });
  const weight = slice(wide, 1, 5, 69);
  const expected = reference(x.toFloat32Array(), weight.toFloat32Array(), undefined, 64);
  expect(relativeDifference(linear(x, weight).toFloat32Array(), expected)).toBeLessThan(1e-6);
  const byColumns = transpose(tensor(transpose(weight, 0, 1).toFloat32Array(), { shape: [64, 33] }), 0, 1);
  expect(byColumns.isContiguous).toBe(false);
  expect(relativeDifference(linear(x, byColumns).toFloat32Array(), expected)).toBeLessThan(1e-6);
});

test("autocast rounds both operands", () => {
  const x = randomTensor([2, 100], { seed: 7 });
  const weight = randomTensor([40, 100], { seed: 8 });
  const y = autocast("bfloat16", () => linear(positions(x), weight));
  expect(y.dtype).toBe("bfloat16");
  const expected = reference(x.toFloat32Array(), weight.toFloat32Array(), undefined, 100);
  expect(relativeDifference(y.toFloat32Array(), expected)).toBeLessThan(1e-2);
});

test("no rows, no columns, no sums; values that are not finite", () => {
  expect(linear(tensor([], { shape: [0, 1, 5] }), randomTensor([3, 5], { seed: 1 })).shape).toEqual([0, 1, 3]);
  expect(linear(randomTensor([2, 1, 5], { seed: 1 }), tensor([], { shape: [0, 5] })).shape).toEqual([2, 1, 0]);
  expect(linear(tensor([], { shape: [2, 1, 0] }), tensor([], { shape: [3, 0] })).toArray()).toEqual([0, 0, 0, 0, 0, 0]);
  const x = tensor([
    [1, Number.NaN, 1],
    [Infinity, 1, 1],
  ]);
  const y = linear(positions(x), tensor([[1, 0, 1]])).toArray();
  expect(y).toEqual([Number.NaN, Infinity]);
});

test("with gradients recorded the sums are those of other products", () => {
  const x = randomTensor([4, 200], { seed: 9 });
  const weight = randomTensor([50, 200], { seed: 10, requiresGrad: true });
  const recorded = linear(x, weight);
  expect(noGrad(() => linear(x, weight)).toBytes()).toEqual(recorded.toBytes());
  const decoded = noGrad(() => linear(positions(x), weight)).toFloat32Array();
  expect(relativeDifference(decoded, recorded.toFloat32Array())).toBeLessThan(1e-6);
});

test("weights that are read ahead may go at any time: others keep their bits, and no memory stays", () => {
  setNumThreads(3);
  const before = memoryStats().liveBytes;
  scope(() => {
    const x = positions(randomTensor([1, 80], { seed: 11 }));
    const weights = Array.from({ length: 6 }, (_, i) => randomTensor([640, 80], { seed: 30 + i }));
    const alone = weights.map((weight) => linear(x, weight).toBytes());
    for (let round = 0; round < 40; round++) {
      // The order is learned, and then one weight ends while it is expected: before, between and behind its own product.
      for (const [i, weight] of weights.entries()) {
        expect(linear(x, weight).toBytes()).toEqual(alone[i]);
        if (round % 4 === 3 && i === round % 6) {
          const gone = (i + 1 + (round % 3)) % 6;
          (weights[gone] as Tensor).dispose();
          weights[gone] = randomTensor([640, 80], { seed: 30 + gone });
        }
      }
    }
  });
  expect(memoryStats().liveBytes).toBe(before);
  setNumThreads(2);
});
