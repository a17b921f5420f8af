import { tensor } from "@fms-accel/tensor";
import { expectClose } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { ModelInputError } from "../../src/errors.ts";
import type { CausalLMInputs } from "../../src/modeling/causal-lm.ts";
import { batch, golden, inScope, openModel } from "./golden.ts";

describe("llama", () => {
  const fixture = golden("llama");
  const width = fixture.tensors.get("logits")!.shape[2]!;

  it("computes logits of the last positions only when asked to", async () => {
    const model = await openModel("llama");
    inScope(() => {
      const inputIds = fixture.input("input_ids");
      const all = model.forward({ inputIds }).logits;
      const last = model.forward({ inputIds, logitsToKeep: 1 }).logits;
      expect(last.shape).toEqual([inputIds.shape[0], 1, width]);
      const rows = all.toFloat32Array();
      const expected = [0, 1, 2].flatMap((row) => [...rows.subarray((row * 21 + 20) * width, (row * 21 + 21) * width)]);
      expectClose(last.toFloat32Array(), expected, { absolute: 1e-6 }, "last logits");
    });
  });

  it("refuses inputs that do not fit together", async () => {
    const model = await openModel("llama");
    const inputIds = fixture.input("input_ids");
    const wrong: [CausalLMInputs, RegExp][] = [
      [
        { inputIds: tensor([1, 2, 3], { dtype: "int32" }) },
        /inputIds: expected shape \[batch, sequence\], found \[3\]/,
      ],
      [
        { inputIds, attentionMask: tensor([[1, 1]], { dtype: "int32" }) },
        /attentionMask: expected shape \[3, 21\], found \[1, 2\]/,
      ],
      [{ inputIds, labels: tensor([[1, 1]], { dtype: "int32" }) }, /labels: expected shape \[3, 21\]/],
      [
        { inputIds, labels: tensor(new Int32Array(63).fill(-100), { shape: [3, 21] }) },
        /labels: no position has a target/,
      ],
      [
        { inputIds, labels: tensor(new Int32Array(63).fill(416), { shape: [3, 21] }) },
        /labels: .* found 416 in row 0, position 1/,
      ],
      [{ inputIds, labels: inputIds, numItemsInBatch: 0 }, /numItemsInBatch: expected a number above 0/],
    ];
    for (const [inputs, message] of wrong) {
      expect(() => inScope(() => model.forward(inputs).loss)).toThrow(ModelInputError);
      expect(() => inScope(() => model.forward(inputs).loss)).toThrow(message);
    }
  });

  it("says so when logits are read after their scope", async () => {
    const model = await openModel("llama");
    const output = inScope(() => model.forward(batch(fixture)));
    expect(() => output.logits).toThrow(/logits: the tensors of this forward call are freed/);
    expect(output.loss!.item()).toBeGreaterThan(0);
  });
});
