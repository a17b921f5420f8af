/**
 * Every dense architecture against the reference: logits, loss, gradients; padded, packed, checkpointed. mixture-of-experts.test.ts: those
 * with experts; bfloat16.test.ts: in bfloat16.
 */
import { type Module, noGrad, type Tensor, tensor } from "@fms-accel/tensor";
import { expectClose, relativeDifference } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { batch, DENSE_CASES, golden, inScope, maskedRows, openModel, takeGradients } from "./golden.ts";

/** Absolute for logits, whose magnitude is 1 to 10; relative to the largest value for gradients. */
const LOGITS = 1e-5;
const LOSS = 1e-6;
const GRADIENT = 1e-5;
const EXPERT_CASES = ["mixtral", "granitemoe", "granitemoeshared", "qwen3_moe"];
const LENGTH_DEPENDENT = ["llama-rope-dynamic", "llama-longrope"];

describe.each(DENSE_CASES)("%s", (name) => {
  const fixture = golden(name);
  const width = fixture.tensors.get("logits")!.shape[2]!;
  const mask = fixture.tensors.get("attention_mask")!.data;

  it("has the reference's logits, loss and gradients", async () => {
    const model = await openModel(name);
    const found = inScope(() => {
      const { logits, loss } = model.forward(batch(fixture));
      loss!.backward();
      return { logits: logits.toFloat32Array(), loss: loss!.item() };
    });
    expectClose(
      maskedRows(found.logits, mask, width),
      maskedRows(fixture.data("logits"), mask, width),
      { absolute: LOGITS },
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
        expectClose(found.logits, expected, { absolute: LOGITS }, "packed logits");
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
});

describe.each([...DENSE_CASES, ...EXPERT_CASES])("%s, padded on the left", (name) => {
  const fixture = golden(name);
  const { lengths } = fixture.document;
  const [rows, columns, width] = fixture.tensors.get("logits")!.shape as [number, number, number];

  /** Rows of a tensor that are padded on the right, padded on the left with `fill`. */
  const toLeft = (key: string, fill: number): Tensor => {
    const { data } = fixture.tensors.get(key)!;
    const moved = Int32Array.from({ length: rows * columns }, (_, at) => {
      const row = Math.floor(at / columns);
      const from = (at % columns) - (columns - lengths[row]!);
      return from < 0 ? fill : Number(data[row * columns + from]);
    });
    return tensor(moved, { shape: [rows, columns] });
  };

  const positions = (): Tensor =>
    tensor(
      Int32Array.from({ length: rows * columns }, (_, at) =>
        Math.max(0, (at % columns) - (columns - lengths[Math.floor(at / columns)]!)),
      ),
      { shape: [rows, columns] },
    );

  it("has the reference's logits of the batch padded on the right", async () => {
    const model = await openModel(name);
    const attentionMask = toLeft("attention_mask", 0);
    const mask = [...attentionMask.toFloat32Array()];
    const logits = inScope(() =>
      noGrad(() =>
        model
          .forward({ inputIds: toLeft("input_ids", 0), attentionMask, positionIds: positions() })
          .logits.toFloat32Array(),
      ),
    );
    const expected = maskedRows(fixture.data("logits"), fixture.tensors.get("attention_mask")!.data, width);
    expectClose(maskedRows(logits, mask, width), expected, { absolute: LOGITS }, "left-padded logits");
    expect(logits.every(Number.isFinite)).toBe(true);
    if (fixture.has("left.logits")) {
      const stored = fixture.tensors.get("left.attention_mask")!.data;
      expect(mask).toEqual([...stored].map(Number));
      expectClose(
        expected,
        maskedRows(fixture.data("left.logits"), stored, width),
        { absolute: LOGITS },
        "the reference",
      );
    }
  });
});

describe.each([
  ["llama", { embeddings: "model.embed_tokens", layers: "model.layers", norm: "model.norm" }],
  ["mixtral", { embeddings: "model.embed_tokens", layers: "model.layers", norm: "model.norm" }],
  ["gpt_bigcode", { embeddings: "transformer.drop", layers: "transformer.h", norm: "transformer.ln_f" }],
])("%s, layer by layer", (name, paths) => {
  it("has the reference's hidden states", async () => {
    const fixture = golden(name);
    const model = await openModel(name);
    const mask = fixture.tensors.get("attention_mask")!.data;
    const { hiddenSize, numHiddenLayers } = model.config;
    const seen = new Map<string, Float32Array>();
    const watch = (key: string, path: string): void => {
      // A layer with experts gives its router's logits too.
      const module = model.getSubmodule(path) as Module & {
        forward: (x: Tensor, ...rest: never[]) => Tensor | Tensor[];
      };
      const forward = module.forward.bind(module);
      module.forward = (x, ...rest) => {
        const output = forward(x, ...rest);
        seen.set(key, (Array.isArray(output) ? output[0]! : output).toFloat32Array());
        return output;
      };
    };
    watch("hidden.embeddings", paths.embeddings);
    for (let layer = 0; layer < numHiddenLayers; layer++) {
      watch(`hidden.layer.${layer}`, `${paths.layers}.${layer}`);
    }
    watch("hidden.final_norm", paths.norm);
    inScope(() => noGrad(() => model.forward(batch(fixture)).loss));
    expect([...seen.keys()]).toEqual(["hidden.embeddings", "hidden.layer.0", "hidden.layer.1", "hidden.final_norm"]);
    for (const [key, values] of seen) {
      const expected = maskedRows(fixture.data(key), mask, hiddenSize);
      expectClose(maskedRows(values, mask, hiddenSize), expected, { absolute: LOGITS, relative: LOGITS }, key);
    }
  });
});
