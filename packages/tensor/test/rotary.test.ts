import { expectClose } from "@fms-accel/test-utilities";
import { expect, test } from "vitest";
import { composedRotary, type DType, rotary, setNumThreads, slice, TensorError } from "../src/index.ts";
import { randomTensor } from "./support/random-tensor.ts";

const FLOATING: readonly DType[] = ["float32", "bfloat16", "float16"];
// batch, tokens, heads, dim; rows of phases
const SHAPES = [
  [1, 1, 9, 64, 1],
  [2, 5, 3, 2, 1],
  [3, 4, 2, 6, 3],
  [2, 70, 4, 128, 2],
  [1, 2, 1, 4096, 1],
  [0, 3, 2, 8, 1],
] as const;

test("gives the bits of the composed function, and its gradient", () => {
  for (const dtype of FLOATING) {
    for (const [batch, tokens, heads, dim, rows] of SHAPES) {
      const shape = [batch, tokens, heads, dim];
      const cos = randomTensor([rows, tokens, 1, dim], { seed: 2, dtype });
      const sin = randomTensor([rows, tokens, 1, dim], { seed: 3, dtype });
      const expected = composedRotary(randomTensor(shape, { seed: 1, dtype }), cos, sin);
      for (const threads of [1, 3]) {
        setNumThreads(threads);
        const y = rotary(randomTensor(shape, { seed: 1, dtype }), cos, sin);
        expect(y.dtype).toBe(dtype);
        expect(y.toBytes(), `${dtype} [${shape.join(", ")}], ${threads} threads`).toEqual(expected.toBytes());
      }
    }
  }
  setNumThreads(2);
});

test("the gradient is that of the composed function where both halves turn by one phase", () => {
  const half = { cos: randomTensor([2, 7, 1, 16], { seed: 2 }), sin: randomTensor([2, 7, 1, 16], { seed: 3 }) };
  const twice = (x: typeof half.cos): typeof half.cos => {
    const values = x.toFloat32Array();
    const both = randomTensor([2, 7, 1, 32]);
    both.copyFrom(
      Float32Array.from({ length: 2 * values.length }, (_, i) => values[Math.floor(i / 32) * 16 + (i % 16)]!),
    );
    return both;
  };
  const [cos, sin] = [twice(half.cos), twice(half.sin)];
  const [fused, composed] = [1, 1].map((seed) => randomTensor([2, 7, 3, 32], { seed, requiresGrad: true }));
  const g = randomTensor([2, 7, 3, 32], { seed: 9 });
  rotary(fused!, cos, sin).backward(g);
  composedRotary(composed!, cos, sin).backward(g);
  expectClose(fused!.grad!.toFloat32Array(), composed!.grad!.toFloat32Array(), { absolute: 1e-6 });
});

test("a part of the head, phases of another dtype, and shapes that do not fit", () => {
  const x = slice(randomTensor([2, 5, 3, 24], { seed: 4 }), -1, 8, 24);
  const cos = randomTensor([1, 5, 1, 16], { seed: 5 });
  const sin = randomTensor([1, 5, 1, 16], { seed: 6 });
  expect(rotary(x, cos, sin).toBytes()).toEqual(composedRotary(x, cos, sin).toBytes());
  const narrow = randomTensor([2, 5, 3, 16], { seed: 7, dtype: "bfloat16" });
  expect(rotary(narrow, cos, sin).toBytes()).toEqual(composedRotary(narrow, cos, sin).toBytes());
  expect(() => rotary(randomTensor([2, 4, 3, 16]), cos, sin)).toThrow(TensorError);
  expect(() => rotary(randomTensor([2, 5, 3, 15]), cos, sin)).toThrow(TensorError);
});
