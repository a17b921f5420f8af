/** Packed rows have the loss and the gradients of their samples one by one, for every architecture; packing without borders has not. */
import { cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AutoModelForCausalLM, type CausalLM } from "@fms-accel/models";
import { fixturePath, readJsonFixture, relativeDifference, temporaryDirectory } from "@fms-accel/test-utilities";
import { batchInputs, collate, modelLoss, type Batch, type Sample } from "@fms-accel/trainer";
import { defaultDevice, scope } from "@fms-accel/tensor";
import { describe, expect, it } from "vitest";
import { collatePackedRows, PackedDataset } from "../../src/index.ts";

const ARCHITECTURES = [
  "llama",
  "mistral",
  "qwen2-window",
  "qwen3",
  "granite",
  "phi3",
  "olmo2",
  "smollm3",
  "gemma",
  "gemma2",
  "gemma3_text",
  "starcoder2",
  "gpt_bigcode",
  "gpt2",
  "gpt_neox",
  "stablelm",
  "mixtral",
  "granitemoe",
  "granitemoeshared",
  "qwen3_moe",
];

/** Samples of 1 to 19 tokens; sliding windows of the fixtures are shorter than the longest. */
const samples: Sample[] = [7, 12, 3, 19, 1, 9, 14].map((length, index) => {
  const inputIds = Int32Array.from({ length }, (_, t) => 3 + ((index * 31 + t * 17 + t * t) % 90));
  return { inputIds, labels: inputIds.map((id, t) => (t % 4 === 3 || t < 2 - index ? -100 : id)) };
});

/** The fixture's folder. The router loss is a mean over a batch, padding left out, and not linear: no sum over samples gives it. */
function withoutRouterLoss(name: string): string {
  const folder = join(temporaryDirectory(), name);
  cpSync(fixturePath("models", name), folder, { recursive: true });
  const { output_router_logits: _, ...config } = readJsonFixture<Record<string, unknown>>(
    "models",
    name,
    "config.json",
  );
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  return folder;
}

/** Loss per trained token, and the gradient of every parameter. */
function train(model: CausalLM, batches: readonly Batch[]): { loss: number; gradients: Map<string, Float32Array> } {
  const trained = batches.reduce((sum, { trainableTokens }) => sum + trainableTokens, 0);
  let loss = 0;
  for (const batch of batches) {
    if (batch.trainableTokens === 0) continue;
    loss += scope(() => {
      const value = modelLoss(model, batchInputs(batch, defaultDevice(), trained));
      value.backward();
      return value.item();
    });
  }
  const gradients = new Map<string, Float32Array>();
  for (const [name, parameter] of model.namedParameters()) {
    if (parameter.grad !== undefined) gradients.set(name, parameter.grad.toFloat32Array());
    parameter.grad?.dispose();
    parameter.grad = undefined;
  }
  return { loss, gradients };
}

const alone = samples.map((sample) => collate([sample], { padTokenId: 0 }));
const rows = [
  [samples[0]!, samples[1]!, samples[2]!],
  [samples[3]!, samples[4]!],
  [samples[5]!, samples[6]!],
];
const packedDataset = (paddingSide: "left" | "right"): PackedDataset =>
  new PackedDataset(samples, { padTokenId: 0, paddingSide }, 24);
const variants: readonly (readonly [name: string, batches: () => readonly Batch[]])[] = [
  ["samples side by side", () => [collate(samples, { padTokenId: 0 })]],
  ["a true batch of packed rows", () => [collatePackedRows(rows, { padTokenId: 0 })]],
  [
    "packed rows in two micro-batches",
    () => [rows.slice(0, 1), rows.slice(1)].map((part) => collatePackedRows(part, { padTokenId: 0, width: 30 })),
  ],
  ["a packed data set", () => [packedDataset("right").batch([0, 1, 2])]],
  ["a packed data set, padded on the left", () => [packedDataset("left").batch([0, 1, 2])]],
];

describe.each(ARCHITECTURES)("%s", (name) => {
  it("has the loss of the samples one by one to 1e-6 and their gradients to 1e-5, packed in any way", async () => {
    const model = await AutoModelForCausalLM.fromPretrained(withoutRouterLoss(name), {
      dtype: "float32",
      onWarning: () => {},
    });
    const expected = train(model, alone);
    expect(expected.gradients.size).toBeGreaterThan(5);
    for (const [variant, batches] of variants) {
      const found = train(model, batches());
      expect(Math.abs(found.loss / expected.loss - 1), `${variant}: loss`).toBeLessThan(1e-6);
      for (const [parameter, gradient] of expected.gradients) {
        const difference = relativeDifference(found.gradients.get(parameter) ?? [], gradient);
        expect(difference, `${variant}: ${parameter}`).toBeLessThan(1e-5);
      }
    }
    // The same rows without borders: what naive packing would train.
    const { sequenceIds: _, positionIds: __, ...leaking } = collatePackedRows(rows, { padTokenId: 0 });
    expect(Math.abs(train(model, [leaking]).loss / expected.loss - 1)).toBeGreaterThan(1e-5);
  });
});
