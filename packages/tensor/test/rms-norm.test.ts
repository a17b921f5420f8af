import { expectClose } from "@fms-accel/test-utilities";
import { expect, test } from "vitest";
import {
  composedRmsNorm,
  type DType,
  rmsNorm,
  setNumThreads,
  tensor,
  Tensor,
  TensorError,
  transpose,
} from "../src/index.ts";
import { randomTensor } from "./support/random-tensor.ts";

const FLOATING: readonly DType[] = ["float32", "bfloat16", "float16"];
// Of the largest gradient. In 16 bits the composed function rounds between its steps.
const TOLERANCE: Partial<Record<DType, number>> = { float32: 1e-6, bfloat16: 2 ** -7, float16: 2 ** -10 };
const SHAPES = [[1], [7, 1], [3, 5], [2, 3, 64], [1, 1, 576], [40, 1000], [3, 2500], [0, 8]];

test("gives the bits of the composed function, for every dtype, shape and number of threads", () => {
  for (const dtype of FLOATING) {
    for (const shape of SHAPES) {
      const x = randomTensor(shape, { seed: 1, dtype });
      const weight = randomTensor([shape.at(-1) as number], { seed: 2, dtype });
      const expected = composedRmsNorm(x, weight, 1e-5);
      for (const threads of [1, 3]) {
        setNumThreads(threads);
        const y = rmsNorm(x, weight, 1e-5);
        expect(y.shape).toEqual(shape);
        expect(y.dtype).toBe(dtype);
        expect(y.toBytes(), `${dtype} [${shape.join(", ")}], ${threads} threads`).toEqual(expected.toBytes());
      }
    }
  }
  setNumThreads(2);
});

test("views, mixed dtypes, and recorded calls give the same", () => {
  const x = transpose(randomTensor([64, 9], { seed: 3 }), 0, 1);
  const weight = randomTensor([64], { seed: 4 });
  const expected = composedRmsNorm(x, weight, 1e-6).toBytes();
  expect(rmsNorm(x, weight, 1e-6).toBytes()).toEqual(expected);
  const trained = randomTensor([64], { seed: 4, requiresGrad: true });
  const recorded = rmsNorm(x, trained, 1e-6);
  expect(recorded.requiresGrad).toBe(true);
  expect(recorded.toBytes()).toEqual(expected);
  expect(rmsNorm(randomTensor([2, 64], { seed: 5, dtype: "bfloat16" }), weight, 1e-6).dtype).toBe("float32");
});

test("values that overflow when squared, zeros and NaN", () => {
  const weight = tensor([1, 2]);
  expectClose(rmsNorm(tensor([[0, 0]]), weight, 1e-6).toFloat32Array(), [0, 0], { absolute: 0 });
  expect(rmsNorm(tensor([[1e30, 1]]), weight, 1e-6).toArray()).toEqual([0, 0]);
  expect(rmsNorm(tensor([[Number.NaN, 1]]), weight, 1e-6).toArray()).toEqual([Number.NaN, Number.NaN]);
});

test("a weight of another length is an error", () => {
  expect(() => rmsNorm(randomTensor([2, 3]), randomTensor([4]), 1e-6)).toThrow(TensorError);
});

test("gradients agree with the composed function's, with the same bits on any number of threads", () => {
  for (const dtype of FLOATING) {
    for (const shape of SHAPES) {
      const gradientsOf = (norm: typeof rmsNorm) => {
        const x = randomTensor(shape, { seed: 1, dtype, requiresGrad: true });
        const weight = randomTensor([shape.at(-1) as number], { seed: 2, dtype, requiresGrad: true });
        norm(x, weight, 1e-5).backward(randomTensor(shape, { seed: 3, dtype }));
        return [x.grad as Tensor, weight.grad as Tensor] as const;
      };
      const expected = gradientsOf(composedRmsNorm);
      setNumThreads(1);
      const found = gradientsOf(rmsNorm);
      setNumThreads(3);
      const threaded = gradientsOf(rmsNorm);
      setNumThreads(2);
      for (const i of [0, 1] as const) {
        const largest = Math.max(...expected[i].toFloat32Array().map(Math.abs), 1e-3);
        expect(found[i].dtype).toBe(dtype);
        expectClose(found[i].toFloat32Array(), expected[i].toFloat32Array(), {
          absolute: (TOLERANCE[dtype] as number) * largest,
        });
        expect(threaded[i].toBytes()).toEqual(found[i].toBytes());
      }
    }
  }
});

test("only what is asked for gets a gradient, and views as well", () => {
  const x = randomTensor([64, 9], { seed: 3, requiresGrad: true });
  const weight = randomTensor([64], { seed: 4 });
  const g = randomTensor([9, 64], { seed: 5 });
  rmsNorm(transpose(x, 0, 1), weight, 1e-6).backward(g);
  const same = randomTensor([64, 9], { seed: 3, requiresGrad: true });
  composedRmsNorm(transpose(same, 0, 1), weight, 1e-6).backward(g);
  expect(weight.grad).toBeUndefined();
  expectClose((x.grad as Tensor).toFloat32Array(), (same.grad as Tensor).toFloat32Array(), { absolute: 1e-6 });
  const trained = randomTensor([64], { seed: 4, requiresGrad: true });
  rmsNorm(transpose(x.detach(), 0, 1), trained, 1e-6).backward(g);
  expect(trained.grad?.shape).toEqual([64]);
});
