import { expect, test } from "vitest";
import { readBandwidth, TensorError, transpose } from "../src/index.ts";
import { randomTensor } from "./support/random-tensor.ts";

test("readBandwidth reads tensors of any dtype and size, and refuses views with gaps", () => {
  const tensors = [randomTensor([1000, 300]), randomTensor([3], { dtype: "bfloat16" }), randomTensor([0, 4])];
  expect(readBandwidth(tensors)).toBeGreaterThan(0);
  expect(() => readBandwidth([transpose(randomTensor([2, 3]), 0, 1)])).toThrow(TensorError);
});
