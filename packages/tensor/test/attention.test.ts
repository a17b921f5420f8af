import { relativeDifference } from "@fms-accel/test-utilities";
import { describe, expect, test } from "vitest";
import {
  add,
  type AttentionOptions,
  autocast,
  type DType,
  expand,
  matmul,
  mul,
  reshape,
  scaledDotProductAttention,
  setNumThreads,
  softmax,
  sum,
  tanh,
  type Tensor,
  tensor,
  TensorError,
  transpose,
  unsqueeze,
  zeros,
} from "../src/index.ts";
import { randomTensor } from "./support/random-tensor.ts";

interface Case {
  batch: number;
  heads: number;
  kvHeads: number;
  queries: number;
  keys: number;
  dim: number;
  /** Of values, where it is another one. */
  valueDim?: number;
  options: AttentionOptions;
}

// The additive mask of a case, written out: float32 [batch, 1, queries, keys].
function writtenOutMask({ batch, queries, keys, options }: Case): Tensor {
  const mask = new Float32Array(batch * queries * keys);
  const keyMask = options.keyMask?.toInt32Array();
  const querySegments = options.querySegments?.toInt32Array();
  const keySegments = options.keySegments?.toInt32Array();
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < queries; i++) {
      for (let j = 0; j < keys; j++) {
        const position = i + keys - queries;
        const isVisible =
          (options.isCausal !== true || j <= position) &&
          (options.window === undefined || j > position - options.window) &&
          (keyMask === undefined || keyMask[b * keys + j] !== 0) &&
          (querySegments === undefined || querySegments[b * queries + i] === keySegments?.[b * keys + j]);
        // Finite, so that a row without keys stays finite: it is compared nowhere.
        mask[(b * queries + i) * keys + j] = isVisible ? 0 : -1e30;
      }
    }
  }
  return tensor(mask, { shape: [batch, 1, queries, keys] });
}

/** The composed function that scaledDotProductAttention stands for. */
function composedAttention(q: Tensor, k: Tensor, v: Tensor, case_: Case): Tensor {
  const { batch, heads, kvHeads, keys, dim, options } = case_;
  const repeat = (x: Tensor): Tensor => {
    const width = x.shape.at(-1) as number;
    return reshape(expand(unsqueeze(x, 2), [batch, kvHeads, heads / kvHeads, keys, width]), [
      batch,
      heads,
      keys,
      width,
    ]);
  };
  let scores = mul(matmul(q, repeat(k), { transposeB: true }), options.scale ?? dim ** -0.5);
  if (options.softCap !== undefined) scores = mul(tanh(mul(scores, 1 / options.softCap)), options.softCap);
  return matmul(softmax(add(scores, writtenOutMask(case_)), -1), repeat(v));
}

function operands(c: Case, dtype: DType): [Tensor, Tensor, Tensor] {
  return [
    randomTensor([c.batch, c.heads, c.queries, c.dim], { seed: 1, dtype, requiresGrad: true }),
    randomTensor([c.batch, c.kvHeads, c.keys, c.dim], { seed: 2, dtype, requiresGrad: true }),
    randomTensor([c.batch, c.kvHeads, c.keys, c.valueDim ?? c.dim], { seed: 3, dtype, requiresGrad: true }),
  ];
}

const segments = tensor([[0, 0, 0, 1, 1, 2, 2, 2, 2]], { dtype: "int32" });
const manySegments = tensor(
  Int32Array.from({ length: 150 }, (_, i) => (i < 5 ? 0 : i < 70 ? 1 : i < 71 ? 2 : 3)),
  { shape: [1, 150] },
);
const CASES: Record<string, Case> = {
  plain: { batch: 2, heads: 3, kvHeads: 3, queries: 7, keys: 11, dim: 5, options: {} },
  causal: { batch: 2, heads: 4, kvHeads: 2, queries: 13, keys: 13, dim: 16, options: { isCausal: true } },
  "several blocks": { batch: 1, heads: 2, kvHeads: 1, queries: 300, keys: 300, dim: 32, options: { isCausal: true } },
  "queries at the end of a cache": {
    batch: 1,
    heads: 2,
    kvHeads: 2,
    queries: 3,
    keys: 40,
    dim: 8,
    options: { isCausal: true },
  },
  window: { batch: 1, heads: 2, kvHeads: 1, queries: 200, keys: 200, dim: 8, options: { isCausal: true, window: 17 } },
  "soft cap and scale": {
    batch: 1,
    heads: 2,
    kvHeads: 1,
    queries: 20,
    keys: 20,
    dim: 8,
    options: { isCausal: true, softCap: 0.5, scale: 0.9 },
  },
  "key mask": {
    batch: 2,
    heads: 2,
    kvHeads: 2,
    queries: 4,
    keys: 4,
    dim: 8,
    options: {
      keyMask: tensor(
        [
          [1, 1, 1, 0],
          [1, 1, 0, 0],
        ],
        { dtype: "int32" },
      ),
    },
  },
  segments: {
    batch: 1,
    heads: 2,
    kvHeads: 1,
    queries: 9,
    keys: 9,
    dim: 8,
    options: { isCausal: true, querySegments: segments, keySegments: segments },
  },
  "several parts of keys, odd sizes": {
    batch: 1,
    heads: 3,
    kvHeads: 1,
    queries: 50,
    keys: 2101,
    dim: 19,
    options: { isCausal: true },
  },
  "a window across chunks": {
    batch: 1,
    heads: 5,
    kvHeads: 1,
    queries: 601,
    keys: 601,
    dim: 40,
    options: { isCausal: true, window: 299 },
  },
  "more queries than keys, negative scale": {
    batch: 2,
    heads: 2,
    kvHeads: 1,
    queries: 45,
    keys: 31,
    dim: 7,
    options: { scale: -0.4 },
  },
  "key mask of many rows": {
    batch: 2,
    heads: 2,
    kvHeads: 2,
    queries: 83,
    keys: 83,
    dim: 8,
    options: {
      isCausal: true,
      keyMask: tensor(
        Int32Array.from({ length: 166 }, (__, i) => (i % 83 === 0 || i % 3 !== 1 ? 1 : 0)),
        {
          shape: [2, 83],
        },
      ),
    },
  },
  "segments of many rows": {
    batch: 1,
    heads: 4,
    kvHeads: 2,
    queries: 150,
    keys: 150,
    dim: 16,
    options: { isCausal: true, softCap: 3, querySegments: manySegments, keySegments: manySegments },
  },
  "values of another width": {
    batch: 1,
    heads: 4,
    kvHeads: 2,
    queries: 37,
    keys: 37,
    dim: 24,
    valueDim: 41,
    options: { isCausal: true },
  },
  "wide heads": {
    batch: 1,
    heads: 4,
    kvHeads: 2,
    queries: 70,
    keys: 70,
    dim: 200,
    valueDim: 136,
    options: { isCausal: true, window: 45 },
  },
  "heads of any width": {
    batch: 1,
    heads: 2,
    kvHeads: 1,
    queries: 9,
    keys: 67,
    dim: 300,
    valueDim: 260,
    options: { isCausal: true, softCap: 3 },
  },
  "one query": { batch: 3, heads: 6, kvHeads: 2, queries: 1, keys: 33, dim: 64, options: { isCausal: true } },
};

// float32: sums in another order. bfloat16: probabilities and results are rounded to 8 bits; compared with float32 of the same values.
const TOLERANCE: Record<string, number> = { float32: 2e-6, bfloat16: 2e-2, float16: 3e-3 };

describe.each(Object.entries(CASES))("%s", (_, c) => {
  test.each(["float32", "bfloat16", "float16"] as DType[])(
    "%s equals the composed function, gradients too",
    (dtype) => {
      const [q, k, v] = operands(c, dtype);
      const [q32, k32, v32] = [q, k, v].map((x) => {
        const wide = tensor(x.toFloat32Array(), { shape: x.shape });
        wide.requiresGrad = true;
        return wide;
      }) as [Tensor, Tensor, Tensor];
      const g = randomTensor([c.batch, c.heads, c.queries, c.valueDim ?? c.dim], { seed: 4, dtype });
      const out = scaledDotProductAttention(q, k, v, c.options);
      expect(out.dtype).toBe(dtype);
      out.backward(g);
      const expected = composedAttention(q32, k32, v32, c);
      expected.backward(tensor(g.toFloat32Array(), { shape: g.shape }));
      const limit = TOLERANCE[dtype] as number;
      expect(relativeDifference(out.toFloat32Array(), expected.toFloat32Array())).toBeLessThan(limit);
      for (const [own, other] of [
        [q, q32],
        [k, k32],
        [v, v32],
      ] as const) {
        expect(own.grad?.dtype).toBe(dtype);
        expect(
          relativeDifference((own.grad as Tensor).toFloat32Array(), (other.grad as Tensor).toFloat32Array()),
        ).toBeLessThan(limit);
      }
    },
  );
});

test("operands may be views: heads that were split off a projection", () => {
  const c = CASES["causal"] as Case;
  const [q, k, v] = operands(c, "float32");
  const projected = transpose(reshape(transpose(q, 1, 2), [2, 13, 4, 16]), 1, 2);
  const strided = transpose(q, 2, 3);
  const plain = scaledDotProductAttention(q, k, v, c.options).toFloat32Array();
  expect(scaledDotProductAttention(projected, k, v, c.options).toFloat32Array()).toEqual(plain);
  expect(
    scaledDotProductAttention(transpose(reshape(strided, strided.shape), 2, 3), k, v, c.options).toFloat32Array(),
  ).toEqual(plain);
});

test("the result joins its heads without a copy", () => {
  const c = CASES["causal"] as Case;
  const out = transpose(scaledDotProductAttention(...operands(c, "float32"), c.options), 1, 2);
  expect(out.isContiguous).toBe(true);
});

test("a query that sees no key gives 0 and no gradient; NaN is not hidden", () => {
  const q = randomTensor([1, 1, 2, 4], { requiresGrad: true });
  const keyMask = zeros([1, 2], { dtype: "bool" });
  const out = scaledDotProductAttention(q, q, q, { keyMask });
  expect(out.toArray()).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
  sum(out).backward();
  expect(q.grad?.toArray()).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
  const broken = tensor([NaN, 0, 0, 0, 0, 0, 0, 0], { shape: [1, 1, 2, 4] });
  expect(scaledDotProductAttention(broken, q, q).toArray()[0]).toBeNaN();
});

test("the same bits with 1, 2 and 3 threads, forward and backward", () => {
  const c = CASES["several blocks"] as Case;
  const runs = [1, 2, 3].map((threads) => {
    setNumThreads(threads);
    const [q, k, v] = operands(c, "bfloat16");
    const out = scaledDotProductAttention(q, k, v, c.options);
    sum(mul(out, out)).backward();
    return [out, q.grad, k.grad, v.grad].map((t) => Buffer.from((t as Tensor).toBytes()).toString("base64")).join();
  });
  setNumThreads(2);
  expect(new Set(runs).size).toBe(1);
});

test("autocast: float32 operands, a bfloat16 result, float32 gradients", () => {
  const c = CASES["causal"] as Case;
  const [q, k, v] = operands(c, "float32");
  const out = autocast("bfloat16", () => scaledDotProductAttention(q, k, v, c.options));
  expect(out.dtype).toBe("bfloat16");
  sum(out).backward();
  expect(q.grad?.dtype).toBe("float32");
});

test("empty and ill-fitting operands", () => {
  const empty = zeros([1, 2, 0, 4]);
  expect(scaledDotProductAttention(empty, zeros([1, 2, 3, 4]), zeros([1, 2, 3, 4])).shape).toEqual([1, 2, 0, 4]);
  expect(scaledDotProductAttention(zeros([1, 2, 3, 4]), empty, empty).toArray()).toEqual(
    Array.from({ length: 24 }, () => 0),
  );
  const q = zeros([1, 3, 2, 4]);
  expect(() => scaledDotProductAttention(q, zeros([1, 2, 2, 4]), zeros([1, 2, 2, 4]))).toThrow(TensorError);
  expect(() => scaledDotProductAttention(q, zeros([1, 3, 2, 8]), q)).toThrow("do not fit together");
  expect(() => scaledDotProductAttention(q, q, q, { keyMask: zeros([1, 5], { dtype: "bool" }) })).toThrow("keyMask");
  expect(() => scaledDotProductAttention(zeros([1, 193, 1, 4]), zeros([1, 1, 1, 4]), zeros([1, 1, 1, 4]))).toThrow(
    "at most 192",
  );
  expect(() => scaledDotProductAttention(zeros([1, 1, 1, 0]), zeros([1, 1, 1, 0]), zeros([1, 1, 1, 0]))).toThrow(
    "must not be 0",
  );
  expect(() => scaledDotProductAttention(q, q, q, { window: 0 })).toThrow("window");
  expect(() => scaledDotProductAttention(q, q, q, { querySegments: zeros([1, 2], { dtype: "int32" }) })).toThrow(
    "go together",
  );
});
