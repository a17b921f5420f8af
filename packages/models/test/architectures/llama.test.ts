import { noGrad, type Tensor, tensor } from "@fms-accel/tensor";
import { expectClose, relativeDifference } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { LlamaForCausalLM } from "../../src/architectures/llama.ts";
import { ModelInputError } from "../../src/errors.ts";
import type { CausalLMInputs } from "../../src/modeling/causal-lm.ts";
import { type Golden, golden, inScope, maskedRows, openModel, takeGradients } from "./golden.ts";

const CASES = [
  "llama",
  "llama3-rope",
  "llama-rope-linear",
  "llama-rope-dynamic",
  "llama-rope-yarn",
  "llama-longrope",
  "llama-bias",
  "llama-sharded",
];

/** Absolute, on logits of magnitude 1 to 10; relative to the largest value for gradients. */
const LOGITS = 1e-5;
const LOSS = 1e-6;
const GRADIENT = 1e-5;
const LENGTH_DEPENDENT = ["llama-rope-dynamic", "llama-longrope"];

function batch(fixture: Golden): CausalLMInputs {
  return {
    inputIds: fixture.input("input_ids"),
    attentionMask: fixture.input("attention_mask"),
    labels: fixture.input("labels"),
  };
}

describe.each(CASES)("%s", (name) => {
  const fixture = golden(name);
  const width = fixture.tensors.get("logits")!.shape[2]!;
  const mask = fixture.tensors.get("attention_mask")!.data;

  it("has the reference's logits, loss and gradients", async () => {
    const model = await openModel(name);
    expect(model).toBeInstanceOf(LlamaForCausalLM);
    const found = inScope(() => {
      const { logits, loss } = model.forward(batch(fixture));
      loss!.backward();
      return { logits: logits.toFloat32Array(), loss: loss!.item() };
    });
    expectClose(
      maskedRows(found.logits, mask, width),
      maskedRows(fixture.data("logits"), mask, width),
      { absolute: LOGITS, relative: LOGITS },
      "logits",
    );
    expect(Math.abs(found.loss - fixture.document.loss.hf_loss)).toBeLessThanOrEqual(
      LOSS * fixture.document.loss.hf_loss,
    );
    const gradients = takeGradients(model);
    const expectedNames = [...fixture.tensors.keys()].filter((key) => key.startsWith("grad."));
    expect([...gradients.keys()].map((key) => `grad.${key}`).sort()).toEqual(expectedNames.sort());
    for (const [key, gradient] of gradients) {
      expect(relativeDifference(gradient, fixture.data(`grad.${key}`)), key).toBeLessThanOrEqual(GRADIENT);
    }
  });

  it("gives the same gradients with gradient checkpointing", async () => {
    const model = await openModel(name);
    model.gradientCheckpointing = true;
    model.train();
    inScope(() => model.forward(batch(fixture)).loss!.backward());
    for (const [key, gradient] of takeGradients(model)) {
      expect(relativeDifference(gradient, fixture.data(`grad.${key}`)), key).toBeLessThanOrEqual(GRADIENT);
    }
  });

  it("divides the summed loss by numItemsInBatch", async () => {
    const model = await openModel(name);
    const { num_items_in_batch: count, hf_loss_with_num_items_in_batch: expected } = fixture.document.loss;
    const loss = inScope(() => model.forward({ ...batch(fixture), numItemsInBatch: count }).loss!.item());
    expect(Math.abs(loss - expected)).toBeLessThanOrEqual(LOSS * expected);
  });

  it("computes a packed row as its sequences alone", async () => {
    const model = await openModel(name);
    const inputIds = fixture.input("packed.input_ids");
    const positionIds = fixture.input("packed.position_ids");
    const labels = fixture.input("packed.labels");
    const sequenceIds = tensor(
      Int32Array.from(fixture.document.lengths.flatMap((length, index) => Array.from({ length }, () => index))),
      { shape: inputIds.shape },
    );
    // By position ids alone, by sequence ids alone, and by both.
    for (const inputs of [{ positionIds }, { positionIds, sequenceIds }]) {
      const found = inScope(() => {
        const { logits, loss } = model.forward({ inputIds, labels, ...inputs });
        loss!.backward();
        return { logits: logits.toFloat32Array(), loss: loss!.item() };
      });
      const gradients = takeGradients(model);
      const oneRow = LENGTH_DEPENDENT.includes(name);
      if (fixture.has("packed.logits")) {
        // Frequencies that depend on the length of the call make one row differ from its sequences alone, there as here.
        const expected = fixture.data(oneRow ? "packed.logits_one_row" : "packed.logits");
        expectClose(found.logits, expected, { absolute: LOGITS, relative: LOGITS }, "packed logits");
      }
      if (!oneRow) {
        expect(Math.abs(found.loss - fixture.document.packed.loss)).toBeLessThanOrEqual(LOSS * found.loss);
        for (const [key, gradient] of gradients) {
          const prefix = fixture.has(`packed.grad.${key}`) ? "packed.grad" : "grad";
          expect(relativeDifference(gradient, fixture.data(`${prefix}.${key}`)), key).toBeLessThanOrEqual(GRADIENT);
        }
      }
    }
  });

  it("stays as near to float32 in bfloat16 as the reference does", async () => {
    const model = await openModel(name, { dtype: "bfloat16" });
    const { logits, loss } = inScope(() => {
      const output = noGrad(() => model.forward(batch(fixture)));
      return { logits: output.logits.toFloat32Array(), loss: output.loss!.item() };
    });
    const ours = maskedRows(logits, mask, width);
    const exact = maskedRows(fixture.data("logits"), mask, width);
    let sum = 0;
    let largest = 0;
    ours.forEach((value, index) => {
      const difference = Math.abs(value - exact[index]!);
      sum += difference;
      largest = Math.max(largest, difference);
    });
    const { max_abs, mean_abs } = fixture.document.bf16.logits_vs_float32;
    expect(sum / ours.length).toBeLessThanOrEqual(1.1 * mean_abs);
    expect(largest).toBeLessThanOrEqual(1.5 * max_abs);
    expect(Math.abs(loss - fixture.document.loss.hf_loss)).toBeLessThanOrEqual(0.02);
  });
});

describe("llama", () => {
  const fixture = golden("llama");
  const width = fixture.tensors.get("logits")!.shape[2]!;

  it("has the reference's hidden states after every layer", async () => {
    const model = (await openModel("llama")) as LlamaForCausalLM;
    const mask = fixture.tensors.get("attention_mask")!.data;
    const { hiddenSize } = model.config;
    const seen = new Map<string, Float32Array>();
    const watch = (name: string, module: { forward: (x: Tensor, ...rest: never[]) => Tensor }): void => {
      const forward = module.forward.bind(module);
      module.forward = (x, ...rest) => {
        const output = forward(x, ...rest);
        seen.set(name, output.toFloat32Array());
        return output;
      };
    };
    watch("hidden.embeddings", model.model.embed_tokens);
    model.model.layers.forEach((layer, index) => watch(`hidden.layer.${index}`, layer));
    watch("hidden.final_norm", model.model.norm);
    inScope(() => noGrad(() => model.forward(batch(fixture)).loss));
    expect([...seen.keys()]).toEqual(["hidden.embeddings", "hidden.layer.0", "hidden.layer.1", "hidden.final_norm"]);
    for (const [name, values] of seen) {
      const expected = maskedRows(fixture.data(name), mask, hiddenSize);
      expectClose(maskedRows(values, mask, hiddenSize), expected, { absolute: 1e-5, relative: 1e-5 }, name);
    }
  });

  it("computes a left-padded batch as the right-padded one", async () => {
    const model = await openModel("llama");
    const mask = fixture.tensors.get("left.attention_mask")!.data;
    const logits = inScope(() =>
      noGrad(() =>
        model
          .forward({
            inputIds: fixture.input("left.input_ids"),
            attentionMask: fixture.input("left.attention_mask"),
            positionIds: fixture.input("left.position_ids"),
          })
          .logits.toFloat32Array(),
      ),
    );
    expectClose(
      maskedRows(logits, mask, width),
      maskedRows(fixture.data("left.logits"), mask, width),
      { absolute: LOGITS, relative: LOGITS },
      "left-padded logits",
    );
    expect(logits.every(Number.isFinite)).toBe(true);
  });

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
