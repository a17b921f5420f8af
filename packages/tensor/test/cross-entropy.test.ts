import { expectClose } from "@fms-accel/test-utilities";
import { describe, expect, test } from "vitest";
import {
  add,
  crossEntropy,
  crossEntropyInPlace,
  type DType,
  mul,
  setNumThreads,
  sum,
  tensor,
  type Tensor,
  TensorError,
  transpose,
  zeros,
} from "../src/index.ts";
import { checkOperation } from "./support/check-gradients.ts";
import { type DoubleArray, get, randomArray } from "./support/double-array.ts";
import { randomTensor } from "./support/random-tensor.ts";

type Mode = "mean" | "sum" | "none";

function exact(logits: DoubleArray, labels: readonly number[], ignoreIndex: number, reduction: Mode): DoubleArray {
  const classes = logits.shape[1] as number;
  const losses = labels.map((label, row) => {
    if (label === ignoreIndex) return 0;
    let total = 0;
    for (let c = 0; c < classes; c++) total += Math.exp(get(logits, row, c));
    return Math.log(total) - get(logits, row, label);
  });
  if (reduction === "none") return { shape: [labels.length], data: Float64Array.from(losses) };
  const total = losses.reduce((a, b) => a + b, 0);
  const counted = labels.filter((label) => label !== ignoreIndex).length;
  return { shape: [], data: Float64Array.of(reduction === "sum" ? total : total / counted) };
}

describe.each(["mean", "sum", "none"] as const)("reduction %s", (reduction) => {
  test.each([
    [1, 1, [0]],
    [3, 5, [4, -100, 0]],
    [5, 123, [122, 0, 7, -100, 7]],
  ] as [number, number, number[]][])(
    "%i rows of %i classes: loss and gradient in every dtype and layout",
    (rows, classes, labels) => {
      const target = tensor(labels, { dtype: "int64" });
      checkOperation({
        op: (logits) => crossEntropy(logits, target, { reduction }),
        reference: (logits) => exact(logits, labels, -100, reduction),
        inputs: [randomArray([rows, classes], { low: -4, high: 4 })],
        resultDtype: "float32",
      });
    },
  );
});

test.each(["int32", "int64", "uint8"] as DType[])("labels of dtype %s", (dtype) => {
  const logits = randomTensor([3, 200]);
  const loss = crossEntropy(logits, tensor([1, 199, 0], { dtype }));
  const same = crossEntropy(logits, tensor([1, 199, 0], { dtype: "int32" }));
  expect(loss.item()).toBe(same.item());
});

test("another ignoreIndex", () => {
  const x = randomArray([3, 5]);
  const loss = crossEntropy(tensor(x.data, { shape: [3, 5] }), tensor([2, 0, 1], { dtype: "int32" }), {
    ignoreIndex: 0,
  });
  expectClose([loss.item()], exact(x, [2, 0, 1], 0, "mean").data, { relative: 1e-6 });
});

test("large vocabularies: losses near 0 and far from it are rounded once", () => {
  const classes = 130_001;
  const x = randomArray([2, classes], { low: -20, high: 20 });
  x.data[77] = 60;
  const labels = [77, 130_000];
  const logits = tensor(x.data, { shape: x.shape });
  // The reference sees the logits as float32.
  const rounded = { shape: x.shape, data: Float64Array.from(logits.toFloat32Array()) };
  const losses = crossEntropy(logits, tensor(labels, { dtype: "int32" }), { reduction: "none" }).toArray();
  expectClose(losses, exact(rounded, labels, -100, "none").data, { relative: 1e-7, absolute: 1e-12 });
});

test("all rows ignored: the mean is NaN as in torch, the sum 0, the gradient of the sum 0", () => {
  const logits = randomTensor([2, 3], { requiresGrad: true });
  const labels = tensor([-100, -100], { dtype: "int32" });
  expect(crossEntropy(logits, labels).item()).toBeNaN();
  const loss = crossEntropy(logits, labels, { reduction: "sum" });
  expect(loss.item()).toBe(0);
  loss.backward();
  expect(logits.grad?.toArray()).toEqual([0, 0, 0, 0, 0, 0]);
});

test("no rows", () => {
  const loss = crossEntropy(zeros([0, 5]), zeros([0], { dtype: "int32" }), { reduction: "sum" });
  expect(loss.item()).toBe(0);
});

test("an ignored row is not read: its NaN stays where it is", () => {
  const logits = tensor([NaN, 1, 2, 3], { shape: [2, 2], requiresGrad: true });
  const loss = crossEntropy(logits, tensor([-100, 1], { dtype: "int32" }));
  expectClose([loss.item()], [Math.log(1 + Math.exp(-1))], { relative: 1e-6 });
  loss.backward();
  expect(logits.grad?.toArray().slice(0, 2)).toEqual([0, 0]);
});

test("the incoming gradient scales rows", () => {
  const logits = randomTensor([3, 4], { requiresGrad: true });
  const labels = tensor([1, 2, 3], { dtype: "int32" });
  sum(mul(crossEntropy(logits, labels, { reduction: "none" }), tensor([2, 0, -1]))).backward();
  const weighted = logits.grad?.toArray() ?? [];
  logits.grad = undefined;
  crossEntropy(logits, labels, { reduction: "sum" }).backward();
  const plain = logits.grad as unknown as Tensor;
  expectClose(
    weighted,
    plain.toArray().map((value, i) => value * ([2, 0, -1][Math.floor(i / 4)] as number)),
    { absolute: 1e-7 },
  );
});

test("the same bits for every number of threads", () => {
  const labels = tensor(Int32Array.from({ length: 300 }, (_, i) => (i * 7) % 515));
  const results = [1, 3].map((threads) => {
    setNumThreads(threads);
    const logits = randomTensor([300, 515], { requiresGrad: true });
    const loss = crossEntropy(logits, labels);
    loss.backward();
    return [loss.item(), logits.grad?.toArray()];
  });
  setNumThreads(2);
  expect(results[1]).toEqual(results[0]);
});

describe("in place", () => {
  const labels = tensor(Int32Array.from({ length: 70 }, (_, row) => (row % 9 === 4 ? -100 : (row * 31) % 515)));

  test.each(["float32", "bfloat16", "float16"] as DType[])("%s: the bits of the sum and of its gradient", (dtype) => {
    const logits = randomTensor([70, 515], { dtype, requiresGrad: true });
    const loss = crossEntropy(logits, labels, { reduction: "sum" });
    loss.backward();
    const overwritten = add(logits.detach(), zeros([], { dtype }));
    expect(crossEntropyInPlace(overwritten, labels).item()).toBe(loss.item());
    expect(overwritten.toFloat32Array()).toEqual(logits.grad?.toFloat32Array());
  });

  test("no rows", () => {
    expect(crossEntropyInPlace(zeros([0, 5]), zeros([0], { dtype: "int32" })).item()).toBe(0);
  });

  test.each([
    ["logits that are not contiguous", () => transpose(zeros([3, 2]), 0, 1), /expected contiguous logits/],
    ["logits of one dimension", () => zeros([6]), /expected floating logits \[rows, classes\], found float32 \[6\]/],
  ])("%s", (_, logits, message) => {
    expect(() => crossEntropyInPlace(logits(), tensor([0, 1], { dtype: "int32" }))).toThrow(message);
  });

  test("a wrong label leaves the logits as they are", () => {
    const logits = tensor([1, 2, 3, 4], { shape: [2, 2] });
    if (logits.device === "cpu") {
      expect(() => crossEntropyInPlace(logits, tensor([0, 2], { dtype: "int32" }))).toThrow(/label 2 of row 1/);
      expect(logits.toArray()).toEqual([1, 2, 3, 4]);
    }
  });
});

describe("wrong arguments", () => {
  const logits = zeros([2, 3]);
  const labels = (...values: number[]): Tensor => tensor(values, { dtype: "int32" });
  test.each([
    [
      "a label above the classes",
      () => crossEntropy(logits, labels(0, 3)),
      /label 3 of row 1 is out of range for 3 classes/,
    ],
    ["a negative label", () => crossEntropy(logits, labels(-1, 0)), /label -1 of row 0 .*label -100 are ignored/],
    ["too few labels", () => crossEntropy(logits, labels(0)), /expected integer labels \[2\], found int32 \[1\]/],
    ["floating labels", () => crossEntropy(logits, zeros([2])), /found float32 \[2\]/],
    [
      "logits of three dimensions",
      () => crossEntropy(zeros([1, 2, 3]), labels(0)),
      /expected floating logits \[rows, classes\]/,
    ],
    ["integer logits", () => crossEntropy(zeros([2, 3], { dtype: "int32" }), labels(0, 1)), /found int32 \[2, 3\]/],
    [
      "an unknown reduction",
      () => crossEntropy(logits, labels(0, 1), { reduction: "max" as "mean" }),
      /reduction "max"/,
    ],
  ])("%s", (_, body, message) => {
    expect(body).toThrow(TensorError);
    expect(body).toThrow(message);
  });
});
