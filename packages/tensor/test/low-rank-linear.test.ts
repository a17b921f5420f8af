import { relativeDifference } from "@fms-accel/test-utilities";
import { describe, expect, test } from "vitest";
import {
  add,
  type DType,
  linear,
  lowRankLinear,
  mul,
  prepackWeight,
  releasePackedWeight,
  setNumThreads,
  type Tensor,
  TensorError,
  zeros,
} from "../src/index.ts";
import { randomTensor } from "./support/random-tensor.ts";

const SCALING = 0.75;

interface Case {
  shape: number[];
  out: number;
  r: number;
  dtype?: DType;
  hasBias?: boolean;
  hasOwnInput?: boolean;
  trainsWeight?: boolean;
}

function operands({ shape, out, r, dtype = "float32", hasBias, hasOwnInput, trainsWeight }: Case): {
  x: Tensor;
  lowRankInput: Tensor;
  weight: Tensor;
  a: Tensor;
  b: Tensor;
  bias: Tensor | undefined;
  g: Tensor;
} {
  const inFeatures = shape.at(-1) as number;
  const x = randomTensor(shape, { seed: 1, dtype, requiresGrad: true });
  return {
    x,
    lowRankInput: hasOwnInput ? randomTensor(shape, { seed: 2, dtype, requiresGrad: true }) : x,
    weight: randomTensor([out, inFeatures], { seed: 3, dtype, requiresGrad: trainsWeight ?? false }),
    a: randomTensor([r, inFeatures], { seed: 4, requiresGrad: true }),
    b: randomTensor([out, r], { seed: 5, requiresGrad: true }),
    bias: hasBias ? randomTensor([out], { seed: 6, dtype, requiresGrad: true }) : undefined,
    g: randomTensor([...shape.slice(0, -1), out], { seed: 7, dtype }),
  };
}

/** The result, then every gradient. */
function results(which: "fused" | "composed", testCase: Case): Map<string, Tensor> {
  const { x, lowRankInput, weight, a, b, bias, g } = operands(testCase);
  const y =
    which === "fused"
      ? lowRankLinear(x, weight, a, b, SCALING, { bias, lowRankInput })
      : add(linear(x, weight, bias), mul(linear(linear(lowRankInput, a), b), SCALING));
  y.backward(g);
  const gradients = Object.entries({ x, lowRankInput, weight, a, b, bias }).flatMap(([name, tensor]) =>
    tensor?.grad === undefined ? [] : [[name, tensor.grad] as const],
  );
  return new Map([["y", y], ...gradients]);
}

const CASES: Case[] = [
  { shape: [6, 8], out: 5, r: 2 },
  { shape: [2, 3, 64], out: 33, r: 16, hasBias: true },
  { shape: [2, 19, 70], out: 130, r: 3, hasOwnInput: true },
  { shape: [37, 7], out: 9, r: 1, hasBias: true, hasOwnInput: true },
  { shape: [40, 576], out: 96, r: 8, trainsWeight: true, hasBias: true },
  { shape: [70, 1100], out: 50, r: 64 },
  { shape: [1, 1, 5], out: 3, r: 7 },
];

describe.each(CASES)("low-rank linear $shape, $out features, rank $r", (testCase) => {
  // Largest error as a share of the largest value; in bfloat16 the composed form rounds three times.
  test.each([
    ["float32", 2e-6],
    ["bfloat16", 2e-2],
    ["float16", 2e-3],
  ] as const)("%s: as composed, with every gradient", (dtype, tolerance) => {
    const [fused, composed] = [results("fused", { ...testCase, dtype }), results("composed", { ...testCase, dtype })];
    expect([...fused.keys()]).toEqual([...composed.keys()]);
    for (const [name, tensor] of fused) {
      const expected = composed.get(name) as Tensor;
      expect(tensor.dtype, name).toBe(expected.dtype);
      expect(tensor.shape, name).toEqual(expected.shape);
      expect(relativeDifference(tensor.toFloat32Array(), expected.toFloat32Array()), name).toBeLessThan(tolerance);
    }
  });
});

test("no rows and no rank", () => {
  expect(
    results("fused", { shape: [0, 8], out: 5, r: 2 })
      .get("a")
      ?.toFloat32Array(),
  ).toEqual(new Float32Array(16));
  const [fused, plain] = [
    results("fused", { shape: [4, 8], out: 5, r: 0 }),
    results("composed", { shape: [4, 8], out: 5, r: 0 }),
  ];
  expect(fused.get("y")?.toFloat32Array()).toEqual(plain.get("y")?.toFloat32Array());
});

test("the same bits with one and with three threads", () => {
  const bits = (threads: number): string[] => {
    setNumThreads(threads);
    const all = results("fused", { shape: [90, 130], out: 70, r: 4, hasBias: true });
    return [...all.values()].map((tensor) => Buffer.from(tensor.toBytes()).toString("base64"));
  };
  const [one, three] = [bits(1), bits(3)];
  setNumThreads(2);
  expect(three).toEqual(one);
});

test("a prepacked weight is multiplied in two steps", () => {
  const run = (packs: boolean): Float32Array[] => {
    const { x, weight, a, b, g } = operands({ shape: [20, 64], out: 48, r: 4 });
    if (packs) prepackWeight(weight, "float32", { backward: true });
    const y = lowRankLinear(x, weight, a, b, SCALING);
    y.backward(g);
    if (packs) releasePackedWeight(weight);
    return [y, x.grad as Tensor].map((tensor) => tensor.toFloat32Array());
  };
  const [packed, plain] = [run(true), run(false)];
  packed.forEach((values, i) => expect(relativeDifference(values, plain[i] as Float32Array)).toBeLessThan(1e-6));
});

test("shapes that do not fit are named", () => {
  const [x, weight, a, b] = [zeros([3, 8]), zeros([5, 8]), zeros([2, 8]), zeros([5, 2])];
  for (const [wrong, text] of [
    [() => lowRankLinear(zeros([3, 7]), weight, a, b, 1), "[3, 7]"],
    [() => lowRankLinear(x, weight, zeros([2, 9]), b, 1), "[2, 9]"],
    [() => lowRankLinear(x, weight, a, zeros([5, 3]), 1), "[5, 3]"],
    [() => lowRankLinear(x, weight, a, zeros([4, 2]), 1), "[4, 2]"],
    [() => lowRankLinear(x, weight, a, b, 1, { lowRankInput: zeros([4, 8]) }), "[4, 8]"],
    [() => lowRankLinear(zeros([3, 8], { dtype: "int32" }), weight, a, b, 1), "int32"],
  ] as const) {
    expect(wrong).toThrow(TensorError);
    expect(wrong).toThrow(text);
  }
});
