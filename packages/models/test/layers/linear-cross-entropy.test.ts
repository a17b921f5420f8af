import {
  add,
  crossEntropy,
  type DType,
  Generator,
  linear,
  Linear,
  memoryStats,
  mul,
  noGrad,
  randn,
  resetPeakMemory,
  scope,
  tanh,
  type Tensor,
  tensor,
} from "@fms-accel/tensor";
import { relativeDifference } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { type LogitsTransform, nextTokenLoss } from "../../src/layers/language-model-head.ts";
import { linearCrossEntropy, rowsPerChunk } from "../../src/layers/linear-cross-entropy.ts";

const ROWS = 11;
const HIDDEN = 6;
const VOCABULARY = 17;
const targets = tensor(Int32Array.from({ length: ROWS }, (_, row) => (row * 5) % VOCABULARY));

interface Setting {
  readonly trainWeight: boolean;
  readonly bias: boolean;
  readonly transform?: LogitsTransform;
  readonly dtype?: DType;
}

/** Loss and gradients of x, weight and bias of a loss that is scaled after it was summed. */
function run(
  loss: (x: Tensor, weight: Tensor, bias: Tensor | undefined) => Tensor,
  setting: Setting,
): (Float32Array | undefined)[] {
  const generator = new Generator(11);
  return scope(() => {
    const draw = (shape: number[], requiresGrad: boolean): Tensor => {
      const made = randn(shape, { generator, dtype: setting.dtype ?? "float32" });
      made.requiresGrad = requiresGrad;
      return made;
    };
    const x = draw([ROWS, HIDDEN], true);
    const weight = draw([VOCABULARY, HIDDEN], setting.trainWeight);
    const bias = setting.bias ? draw([VOCABULARY], setting.trainWeight) : undefined;
    // As with a tied embedding, x and the weight are used elsewhere too: gradients must add up.
    const value = add(mul(loss(x, weight, bias), 0.37), mul(loss(x, weight, bias), 0.2));
    value.backward();
    return [value, x.grad, weight.grad, bias?.grad].map((result) => result?.toFloat32Array());
  });
}

describe("linearCrossEntropy", () => {
  const settings: [string, Setting][] = [
    ["a frozen weight", { trainWeight: false, bias: false }],
    ["a trained weight", { trainWeight: true, bias: false }],
    ["a bias", { trainWeight: true, bias: true }],
    ["a soft cap", { trainWeight: true, bias: true, transform: (logits) => mul(tanh(mul(logits, 0.5)), 2) }],
  ];

  it.each(settings)("equals the loss of all logits, with %s", (_, setting) => {
    const transform: LogitsTransform = setting.transform ?? ((logits) => logits);
    const expected = run(
      (x, weight, bias) => crossEntropy(transform(linear(x, weight, bias)), targets, { reduction: "sum" }),
      setting,
    );
    for (const chunkRows of [1, 4, 11, 64]) {
      const found = run(
        (x, weight, bias) => linearCrossEntropy(x, weight, targets, { bias, chunkRows, transform }),
        setting,
      );
      expect(found.map((result) => result?.length)).toEqual(expected.map((result) => result?.length));
      for (const [index, result] of expected.entries()) {
        if (result !== undefined) {
          expect(relativeDifference(found[index]!, result), `chunks of ${chunkRows}, result ${index}`).toBeLessThan(
            2e-6,
          );
        }
      }
    }
  });

  it.each(["bfloat16", "float16"] as const)("keeps gradients in %s", (dtype) => {
    const setting = { trainWeight: true, bias: false, dtype };
    const expected = run((x, weight) => crossEntropy(linear(x, weight), targets, { reduction: "sum" }), setting);
    const found = run((x, weight) => linearCrossEntropy(x, weight, targets, { chunkRows: 4 }), setting);
    for (const [index, result] of expected.slice(0, 3).entries()) {
      expect(relativeDifference(found[index]!, result!)).toBeLessThan(index === 0 ? 1e-6 : 0.02);
    }
  });

  it("records nothing without gradients", () => {
    scope(() => {
      const x = randn([ROWS, HIDDEN], { requiresGrad: true });
      const weight = randn([VOCABULARY, HIDDEN]);
      const loss = noGrad(() => linearCrossEntropy(x, weight, targets));
      expect(loss.requiresGrad).toBe(false);
      expect(x.grad).toBeUndefined();
    });
  });

  it("cuts rows into about equal chunks", () => {
    expect(rowsPerChunk(2044, 49_152)).toBe(512);
    expect(rowsPerChunk(700, 49_152)).toBe(384);
    expect(rowsPerChunk(1, 49_152)).toBe(64);
    expect(rowsPerChunk(0, 10)).toBe(64);
    expect(rowsPerChunk(100_000, 416)).toBe(50_048);
    expect(rowsPerChunk(4096, 1_000_000)).toBe(64);
  });

  it("never holds all logits", () => {
    const rows = 2048;
    const vocabulary = 49_152;
    scope(() => {
      const x = randn([rows, 8], { requiresGrad: true });
      const weight = randn([vocabulary, 8]);
      const labels = tensor(Int32Array.from({ length: rows }, (_, row) => row));
      const before = memoryStats().liveBytes;
      resetPeakMemory();
      linearCrossEntropy(x, weight, labels).backward();
      // The logits of one chunk, whose place their gradient takes, out of 2 x 384 MiB.
      expect(memoryStats().peakBytes - before).toBeLessThan(1.1 * 4 * rowsPerChunk(rows, vocabulary) * vocabulary);
      expect(rowsPerChunk(rows, vocabulary)).toBe(512);
      x.grad?.dispose();
    });
  });
});

describe("nextTokenLoss", () => {
  const labels = tensor(
    [
      [3, -100, 5, 6],
      [-100, -100, 2, -100],
    ],
    { dtype: "int32" },
  );

  it("is the same for a head that is no plain linear layer, which is computed in chunks twice", () => {
    class Scaled extends Linear {
      override forward(x: Tensor): Tensor {
        return mul(super.forward(x), 1);
      }
    }
    const generator = new Generator(5);
    const plain = new Linear(HIDDEN, VOCABULARY, { bias: true });
    const scaled = new Scaled(HIDDEN, VOCABULARY, { bias: true });
    for (const [name, parameter] of plain.namedParameters()) {
      parameter.copyFrom(randn(parameter.shape, { generator }));
      scaled.stateDict().get(name)!.copyFrom(parameter);
    }
    const results = [plain, scaled].map((head) =>
      scope(() => {
        const hidden = randn([2, 4, HIDDEN], { generator: new Generator(6), requiresGrad: true });
        const loss = nextTokenLoss(hidden, head, VOCABULARY, labels, 7);
        loss.backward();
        const found = [loss, hidden.grad!, head.weight.grad!, head.bias!.grad!].map((value) => value.toFloat32Array());
        hidden.grad!.dispose();
        return found;
      }),
    );
    for (const [index, expected] of results[0]!.entries()) {
      expect(relativeDifference(results[1]![index]!, expected)).toBeLessThan(2e-6);
    }
    // Only the hidden states in front of a target get a gradient: rows 1, 2 of the first sequence and 1 of the second.
    const gradient = results[0]![1]!;
    const reached = Array.from({ length: 8 }, (_, row) =>
      gradient.subarray(row * HIDDEN, (row + 1) * HIDDEN).some((value) => value !== 0),
    );
    expect(reached).toEqual([false, true, true, false, false, true, false, false]);
  });
});
