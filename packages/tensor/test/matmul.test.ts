import { relativeDifference } from "@fms-accel/test-utilities";
import { describe, expect, test } from "vitest";
import {
  addmm,
  autocast,
  type DType,
  expand,
  linear,
  matmul,
  mul,
  prepackWeight,
  releasePackedWeight,
  setNumThreads,
  slice,
  sum,
  type Tensor,
  TensorError,
  transpose,
  zeros,
} from "../src/index.ts";
import { randomTensor } from "./support/random-tensor.ts";

// Largest error as a share of the largest value: float32 sums, then one rounding to the result's dtype.
const TOLERANCE: Record<string, number> = { float32: 1e-6, bfloat16: 4e-3, float16: 1e-3 };

// [m, k] · [k, n] in float64; element (i, j) of an operand is values[i * row + j * column].
interface Operand {
  values: ArrayLike<number>;
  row: number;
  column: number;
}
function reference(m: number, n: number, k: number, a: Operand, b: Operand): Float64Array {
  const result = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let total = 0;
      for (let l = 0; l < k; l++) {
        total += (a.values[i * a.row + l * a.column] as number) * (b.values[l * b.row + j * b.column] as number);
      }
      result[i * n + j] = total;
    }
  }
  return result;
}
const rows = (values: ArrayLike<number>, width: number): Operand => ({ values, row: width, column: 1 });
const columns = (values: ArrayLike<number>, width: number): Operand => ({ values, row: 1, column: width });

// A [height, width] matrix as its transposed storage holds it.
function asStored(values: Float64Array, isTransposed: boolean, height: number, width: number): Float64Array {
  return isTransposed ? values.map((_, i) => values[(i % height) * width + Math.floor(i / height)] as number) : values;
}
const half = (values: Float64Array): Float64Array => values.map((v) => 0.5 * v);

const SHAPES: [number, number, number][] = [
  [1, 1, 1],
  [3, 5, 7],
  [1, 33, 70],
  [14, 32, 64],
  [29, 17, 131],
  [130, 47, 16],
  [65, 600, 33],
  [5, 3, 2100],
];

describe.each(["float32", "bfloat16", "float16"] as DType[])("matmul in %s", (dtype) => {
  test.each(SHAPES)("%i x %i x %i: result and both gradients, all orientations", (m, n, k) => {
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        const a = randomTensor(transposeA ? [k, m] : [m, k], { seed: 1, dtype, requiresGrad: true });
        const b = randomTensor(transposeB ? [n, k] : [k, n], { seed: 2, dtype, requiresGrad: true });
        const weight = randomTensor([m, n], { seed: 3, dtype });
        const c = matmul(a, b, { transposeA, transposeB });
        expect(c.shape).toEqual([m, n]);
        expect(c.dtype).toBe(dtype);
        c.backward(weight);
        const [av, bv, wv] = [a, b, weight].map((t) => t.toFloat32Array()) as [
          Float32Array,
          Float32Array,
          Float32Array,
        ];
        const left = transposeA ? columns(av, m) : rows(av, k);
        const right = transposeB ? columns(bv, k) : rows(bv, n);
        const leftT = transposeA ? rows(av, m) : columns(av, k);
        const rightT = transposeB ? rows(bv, k) : columns(bv, n);
        const limit = TOLERANCE[dtype] as number;
        expect(relativeDifference(c.toFloat32Array(), reference(m, n, k, left, right))).toBeLessThan(limit);
        const ga = reference(m, k, n, rows(wv, n), rightT);
        const gb = reference(k, n, m, leftT, rows(wv, n));
        const aGrad = (a.grad as Tensor).toFloat32Array();
        const bGrad = (b.grad as Tensor).toFloat32Array();
        expect(relativeDifference(aGrad, asStored(ga, transposeA, m, k))).toBeLessThan(limit);
        expect(relativeDifference(bGrad, asStored(gb, transposeB, k, n))).toBeLessThan(limit);
      }
    }
  });
});

test("batches broadcast, forward and backward", () => {
  const a = randomTensor([2, 1, 3, 4], { seed: 1, requiresGrad: true });
  const b = randomTensor([5, 4, 6], { seed: 2, requiresGrad: true });
  const c = matmul(a, b);
  expect(c.shape).toEqual([2, 5, 3, 6]);
  sum(mul(c, c)).backward();
  const bigA = expand(a.detach(), [2, 5, 3, 4]);
  const bigB = expand(b.detach(), [2, 5, 4, 6]);
  const [av, bv, cv] = [bigA, bigB, c].map((t) => t.toFloat32Array()) as [Float32Array, Float32Array, Float32Array];
  const ga = new Float64Array(2 * 3 * 4);
  const gb = new Float64Array(5 * 4 * 6);
  for (let i = 0; i < 10; i++) {
    const one = reference(3, 6, 4, rows(av.subarray(i * 12), 4), rows(bv.subarray(i * 24), 6));
    expect(relativeDifference(cv.subarray(i * 18, (i + 1) * 18), one)).toBeLessThan(1e-6);
    const g = one.map((value) => 2 * value);
    reference(3, 4, 6, rows(g, 6), columns(bv.subarray(i * 24), 6)).forEach(
      (v, j) => (ga[Math.floor(i / 5) * 12 + j]! += v),
    );
    reference(4, 6, 3, columns(av.subarray(i * 12), 4), rows(g, 6)).forEach((v, j) => (gb[(i % 5) * 24 + j]! += v));
  }
  expect(relativeDifference((a.grad as Tensor).toFloat32Array(), ga)).toBeLessThan(1e-6);
  expect(relativeDifference((b.grad as Tensor).toFloat32Array(), gb)).toBeLessThan(1e-6);
});

test("views are multiplied in place: slices, transposes, expanded rows", () => {
  const a = slice(slice(randomTensor([9, 20], { seed: 4 }), 0, 1, 9, 2), 1, 3, 14);
  const b = transpose(randomTensor([7, 11], { seed: 5 }), 0, 1);
  const expected = reference(4, 7, 11, rows(a.toFloat32Array(), 11), rows(b.toFloat32Array(), 7));
  expect(relativeDifference(matmul(a, b).toFloat32Array(), expected)).toBeLessThan(1e-6);
  const repeated = expand(randomTensor([1, 11], { seed: 6 }), [5, 11]);
  const other = reference(5, 7, 11, rows(repeated.toFloat32Array(), 11), rows(b.toFloat32Array(), 7));
  expect(relativeDifference(matmul(repeated, b).toFloat32Array(), other)).toBeLessThan(1e-6);
});

test("linear: x of any rank, bias, gradients of all three", () => {
  const x = randomTensor([2, 3, 5], { seed: 1, requiresGrad: true });
  const weight = randomTensor([4, 5], { seed: 2, requiresGrad: true });
  const bias = randomTensor([4], { seed: 3, requiresGrad: true });
  const y = linear(x, weight, bias);
  const [xv, wv, bv] = [x, weight, bias].map((t) => t.toFloat32Array()) as [Float32Array, Float32Array, Float32Array];
  const expected = reference(6, 4, 5, rows(xv, 5), columns(wv, 5)).map((v, i) => v + (bv[i % 4] as number));
  expect(y.shape).toEqual([2, 3, 4]);
  expect(relativeDifference(y.toFloat32Array(), expected)).toBeLessThan(1e-6);
  const g = randomTensor([2, 3, 4], { seed: 4 });
  y.backward(g);
  const gv = g.toFloat32Array();
  expect(
    relativeDifference((x.grad as Tensor).toFloat32Array(), reference(6, 5, 4, rows(gv, 4), rows(wv, 5))),
  ).toBeLessThan(1e-6);
  expect(
    relativeDifference((weight.grad as Tensor).toFloat32Array(), reference(4, 5, 6, columns(gv, 4), rows(xv, 5))),
  ).toBeLessThan(1e-6);
  const ones: Operand = { values: new Float64Array(6).fill(1), row: 0, column: 1 };
  expect(
    relativeDifference((bias.grad as Tensor).toFloat32Array(), reference(1, 4, 6, ones, rows(gv, 4))),
  ).toBeLessThan(1e-6);
});

test("a frozen weight costs no gradient, and linear then does not keep x", () => {
  const x = randomTensor([3, 5], { requiresGrad: true });
  const weight = randomTensor([4, 5]);
  sum(linear(x, weight)).backward();
  expect(weight.grad).toBeUndefined();
  expect(x.grad).toBeDefined();
});

test.each(["float32", "bfloat16"] as const)(
  "a prepacked frozen %s weight gives the same bits, forward and backward",
  (dtype) => {
    const run = (packs: boolean): string[] => {
      const x = randomTensor([37, 70], { seed: 1, dtype, requiresGrad: true });
      const weight = randomTensor([45, 70], { seed: 2, dtype });
      if (packs) prepackWeight(weight, dtype, { backward: true });
      const y = linear(x, weight);
      y.backward(randomTensor([37, 45], { seed: 3, dtype }));
      if (packs) releasePackedWeight(weight);
      return [y, x.grad as Tensor].map((t) => Buffer.from(t.toBytes()).toString("base64"));
    };
    expect(run(true)).toEqual(run(false));
    expect(() => prepackWeight(randomTensor([2, 2], { requiresGrad: true }), dtype)).toThrow("only frozen weights");
  },
);

test("autocast: float32 operands are multiplied as bfloat16, gradients stay float32", () => {
  const x = randomTensor([40, 64], { seed: 1, requiresGrad: true });
  const weight = randomTensor([24, 64], { seed: 2, requiresGrad: true });
  const y = autocast("bfloat16", () => linear(x, weight));
  expect(y.dtype).toBe("bfloat16");
  const exact = linear(x, weight).toFloat32Array();
  expect(relativeDifference(y.toFloat32Array(), exact)).toBeLessThan(1e-2);
  expect(relativeDifference(y.toFloat32Array(), exact)).toBeGreaterThan(1e-5);
  sum(y).backward();
  expect((x.grad as Tensor).dtype).toBe("float32");
  expect((weight.grad as Tensor).dtype).toBe("float32");
});

test("linear keeps x's dtype when the weight has another one", () => {
  const x = randomTensor([6, 32], { seed: 1, dtype: "bfloat16", requiresGrad: true });
  const weight = randomTensor([8, 32], { seed: 2, requiresGrad: true });
  const y = linear(x, weight);
  expect(y.dtype).toBe("bfloat16");
  sum(y).backward();
  expect((x.grad as Tensor).dtype).toBe("bfloat16");
  expect((weight.grad as Tensor).dtype).toBe("float32");
});

function addmmResults(overwriteInput: boolean): Float32Array[] {
  const input = randomTensor([9, 6], { seed: 1, requiresGrad: true });
  const a = randomTensor([9, 4], { seed: 2, requiresGrad: true });
  const b = randomTensor([6, 4], { seed: 3, requiresGrad: true });
  // A fresh result, as overwriting demands.
  const base = linear(input, randomTensor([6, 6], { seed: 4 }));
  const y = addmm(base, a, b, { alpha: 0.5, transposeB: true, overwriteInput });
  y.backward(randomTensor([9, 6], { seed: 5 }));
  return [y, ...[input, a, b].map((t) => t.grad as Tensor)].map((t) => t.toFloat32Array());
}

test("addmm: scaled sum and its gradients; overwriting gives the same bits", () => {
  const plain = addmmResults(false);
  expect(addmmResults(true)).toEqual(plain);
  const a = randomTensor([9, 4], { seed: 2 }).toFloat32Array();
  const b = randomTensor([6, 4], { seed: 3 }).toFloat32Array();
  const g = randomTensor([9, 6], { seed: 5 }).toFloat32Array();
  expect(relativeDifference(plain[2] as Float32Array, half(reference(9, 4, 6, rows(g, 6), rows(b, 4))))).toBeLessThan(
    1e-6,
  );
  expect(
    relativeDifference(plain[3] as Float32Array, half(reference(6, 4, 9, columns(g, 6), rows(a, 4)))),
  ).toBeLessThan(1e-6);
});

test("empty operands: no rows, no columns, nothing to sum over", () => {
  expect(matmul(zeros([0, 4]), zeros([4, 3])).shape).toEqual([0, 3]);
  expect(matmul(zeros([2, 4]), zeros([4, 0])).shape).toEqual([2, 0]);
  expect(matmul(zeros([2, 0]), zeros([0, 3])).toArray()).toEqual([0, 0, 0, 0, 0, 0]);
});

test("NaN and infinity propagate", () => {
  const a = zeros([2, 3]);
  slice(a, 0, 0, 1).copyFrom(Float32Array.of(1, NaN, 1));
  const b = zeros([3, 2]);
  b.copyFrom(Float32Array.of(1, 1, 1, Infinity, 1, 1));
  expect(matmul(a, b).toArray()).toEqual([NaN, NaN, 0, NaN]);
});

test("the same bits with 1, 2 and 3 threads", () => {
  for (const dtype of ["float32", "bfloat16"] as const) {
    const a = randomTensor([150, 700], { seed: 1, dtype });
    const b = randomTensor([333, 700], { seed: 2, dtype });
    const results = [1, 2, 3].map((threads) => {
      setNumThreads(threads);
      return Buffer.from(matmul(a, b, { transposeB: true }).toBytes()).toString("base64");
    });
    setNumThreads(2);
    expect(new Set(results).size).toBe(1);
  }
});

test("operands that do not fit are refused with both shapes", () => {
  expect(() => matmul(zeros([2, 3]), zeros([4, 5]))).toThrow(TensorError);
  expect(() => matmul(zeros([2, 3]), zeros([4, 5]))).toThrow("[2, 3]");
  expect(() => matmul(zeros([3]), zeros([3, 2]))).toThrow("two dimensions");
  expect(() => matmul(zeros([2, 2], { dtype: "int32" }), zeros([2, 2], { dtype: "int32" }))).toThrow("floating");
  expect(() => linear(zeros([2, 3]), zeros([4, 5]))).toThrow("[4, 5]");
  expect(() => matmul(zeros([1, 1, 3]), zeros([3, 3, 2]))).not.toThrow();
  expect(() => matmul(zeros([2, 1, 3]), zeros([4, 3, 2]))).toThrow("broadcast");
});
