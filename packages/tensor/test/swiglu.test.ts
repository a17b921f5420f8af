import { describe, expect, test } from "vitest";
import { composedSwiglu, dryRun, slice, split, swiglu, type Tensor, TensorError, zeros } from "../src/index.ts";
import { checkOperation, FLOATING } from "./support/check-gradients.ts";
import { randomArray, zipped } from "./support/double-array.ts";
import { randomTensor } from "./support/random-tensor.ts";

const silu = (x: number): number => x / (1 + Math.exp(-x));

test("silu(gate) · up and both gradients, in every dtype and layout", () => {
  checkOperation({
    op: (gate, up) => swiglu(gate, up),
    reference: zipped((gate, up) => silu(gate) * up),
    inputs: [randomArray([3, 5, 7], { low: -6, high: 6 }), randomArray([3, 5, 7], { seed: 2 })],
  });
});

type Gated = (gate: Tensor, up: Tensor) => Tensor;

function bits(tensors: readonly (Tensor | undefined)[]): string[] {
  return tensors.map((tensor) => `${tensor?.toString()} ${Buffer.from(tensor?.toBytes() ?? "").toString("base64")}`);
}

describe.each(FLOATING)("%s: the bits of the composed form", (dtype) => {
  test.each([[[0, 4]], [[1]], [[5, 123]], [[2, 700, 33]]])("shape %j", (shape) => {
    const run = (op: Gated): string[] => {
      const [gate, up, g] = [1, 2, 3].map((seed) => randomTensor(shape, { seed, dtype, requiresGrad: seed < 3 })) as [
        Tensor,
        Tensor,
        Tensor,
      ];
      const y = op(gate, up);
      y.backward(g);
      return bits([y, gate.grad, up.grad]);
    };
    expect(run(swiglu)).toEqual(run(composedSwiglu));
  });

  test("of the halves of one tensor", () => {
    const run = (op: Gated): string[] => {
      const both = randomTensor([19, 66], { dtype, requiresGrad: true });
      const y = op(...(split(both, 33, 1) as [Tensor, Tensor]));
      y.backward(randomTensor([19, 33], { seed: 4, dtype }));
      return bits([y, both.grad]);
    };
    expect(run(swiglu)).toEqual(run(composedSwiglu));
  });

  test("of columns of wider tensors, whose rows begin anywhere", () => {
    const run = (op: Gated): string[] => {
      const [gate, up] = [1, 2].map((seed) =>
        slice(randomTensor([6, 35], { seed, dtype, requiresGrad: true }), 1, 0, 32),
      );
      const y = op(gate as Tensor, up as Tensor);
      return bits([y]);
    };
    expect(run(swiglu)).toEqual(run(composedSwiglu));
  });

  test("of numbers that are not finite", () => {
    const run = (op: Gated): number[] => {
      const gate = zeros([4], { dtype });
      gate.copyFrom(new Float32Array([Infinity, -Infinity, NaN, 90]));
      const up = zeros([4], { dtype });
      up.copyFrom(new Float32Array([1, 1, 1, Infinity]));
      return op(gate, up).toArray();
    };
    expect(run(swiglu)).toEqual(run(composedSwiglu));
  });
});

test("operands of two dtypes take the composed way", () => {
  const [gate, up] = [randomTensor([3, 4], { dtype: "bfloat16" }), randomTensor([3, 4], { seed: 2 })];
  expect(bits([swiglu(gate, up)])).toEqual(bits([composedSwiglu(gate, up)]));
});

test("a dry run has the shape", async () => {
  await dryRun(() => expect(swiglu(zeros([3, 4]), zeros([3, 4])).shape).toEqual([3, 4]));
});

test("shapes that differ are named", () => {
  expect(() => swiglu(zeros([3, 4]), zeros([3, 5]))).toThrow(TensorError);
});
