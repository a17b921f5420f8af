/**
 * What only the cuda device has. Its kernels run here in small shapes of every kind, so that the emulator's detector of races and of
 * accesses out of bounds can run this file as well.
 */
import { type DType, type Tensor, TensorError, tensor, to, workStats, zeros } from "@fms-accel/tensor";
import { relativeDifference } from "@fms-accel/test-utilities";
import { describe, expect, test } from "vitest";
import { variableLengthAttention } from "../../src/ops/variable-length-attention.ts";
import { attentionOperands, type AttentionOperands, cumulativeLengths } from "../support/attention-operands.ts";
import { type AttentionCase, referenceAttention } from "../support/reference-attention.ts";

const SHAPES: [string, AttentionCase][] = [
  ["heads of 16", { lengths: [70, 1, 0, 19], heads: 2, kvHeads: 1, dim: 16, isCausal: true }],
  ["heads of 20, cap", { lengths: [3, 66], heads: 2, kvHeads: 2, dim: 20, isCausal: false, softCap: 3 }],
  ["heads of 72, window", { lengths: [5, 67], heads: 1, kvHeads: 1, dim: 72, isCausal: true, window: 20 }],
  ["heads of 136", { lengths: [2, 37], heads: 2, kvHeads: 1, dim: 136, isCausal: true }],
];
// As in variable-length-attention.test.ts.
const TOLERANCES: [DType, number][] = [
  ["float32", 3e-6],
  ["bfloat16", 1.5e-2],
  ["float16", 1.5e-2 / 8],
];

function run(c: AttentionCase, { q, k, v, outGradient, cuSeqlens }: AttentionOperands): Tensor[] {
  const { isCausal, window, softCap } = c;
  const out = variableLengthAttention(q, k, v, cuSeqlens, { isCausal, window, softCap });
  out.backward(outGradient);
  return [out, q.grad!, k.grad!, v.grad!];
}

describe.each(SHAPES)("%s", (_, c) => {
  test.each(TOLERANCES)("%s: equals its definition, gradients too", (dtype, tolerance) => {
    const operands = attentionOperands(c, dtype);
    const { q, k, v, outGradient } = operands;
    const [qs, ks, vs, gs] = [q, k, v, outGradient].map((x) => x.toFloat32Array()) as [
      Float32Array,
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const expected = referenceAttention(c, { q: qs, k: ks, v: vs, outGradient: gs });
    const results = run(c, operands).map((x) => x.toFloat32Array());
    [expected.out, expected.q, expected.k, expected.v].forEach((values, i) =>
      expect(relativeDifference(results[i]!, values), ["out", "dq", "dk", "dv"][i]).toBeLessThan(tolerance),
    );
  });
});

test("nothing waits for the device: not for the lengths, and not to check them", () => {
  const c: AttentionCase = { lengths: [40, 7], heads: 2, kvHeads: 1, dim: 32, isCausal: true };
  const operands = attentionOperands(c, "bfloat16");
  const before = workStats();
  run(c, operands);
  const { waits, launches } = workStats();
  expect(waits).toBe(before.waits);
  expect(launches - before.launches).toBe(5);
});

test("operands that are not all on the device are named", () => {
  const q = zeros([6, 2, 16]);
  const cu = cumulativeLengths([2, 4]);
  const attend = (...operands: [Tensor, Tensor, Tensor, Tensor]): (() => Tensor) => {
    return () => variableLengthAttention(...operands);
  };
  const there = q.device;
  expect(attend(q, q, to(q, "cpu"), cu)).toThrow(`expected v on q's device, ${there}, found it on cpu`);
  expect(attend(q, q, q, to(cu, "cpu"))).toThrow(`expected cuSeqlens on q's device, ${there}, found it on cpu`);
  expect(attend(to(q, "cpu"), q, q, cu)).toThrow(`expected k on q's device, cpu, found it on ${there}`);
});

// The error comes after the kernels have run. No two of the sequences overlap: their blocks would write the same rows, and the detector of
// races would speak first.
test.each([
  [[-5, 6], "found -5 at 0"],
  [[0, 1_000_000, 6], "found 6 at 2"],
  [[0, 5, -1_000_000], "found -1000000 at 2"],
  [[0, 4, 2_000_000_000], "found 2000000000 at 2"],
  [[6, 0], "found 6 at 0"],
])("bounds %j touch no other memory", (bounds, found) => {
  const q = zeros([6, 2, 16]);
  const cuSeqlens = tensor(Int32Array.from(bounds), { dtype: "int32" });
  const attend = () => variableLengthAttention(q, q, q, cuSeqlens).toFloat32Array();
  expect(attend).toThrow(TensorError);
  expect(attend).toThrow(`cuSeqlens must rise from 0 to the number of tokens, 6, ${found}`);
});
