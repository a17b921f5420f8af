import { noGrad, scope } from "@fms-accel/tensor";
import { describe, expect, it } from "vitest";
import {
  batchInputs,
  BatchList,
  collate,
  evaluateLoss,
  modelLoss,
  SampleLoader,
  type BatchEvaluation,
  type Sample,
} from "../../src/index.ts";
import { makeModel } from "./small-run.ts";

const samples: Sample[] = [[5, 9, 12, 40, 41], [7, 8], [100, 200, 300], [17, 23, 5, 9, 11, 250, 3], [90]].map(
  (ids, index) => ({
    inputIds: Int32Array.from(ids),
    labels: Int32Array.from(ids, (id, place) => (index === 3 && place < 3 ? -100 : id)),
  }),
);

function loader(batchSize: number): SampleLoader {
  const sampler = {
    batchCount: () => Math.ceil(samples.length / batchSize),
    batch: (_: number, index: number) =>
      samples.map((__, number) => number).slice(index * batchSize, (index + 1) * batchSize),
  };
  return new SampleLoader(
    { length: samples.length, sample: (index) => samples[index] ?? samples[0]! },
    sampler,
    (rows) => collate(rows, { padTokenId: 0 }),
  );
}

describe("the loss of a data set", () => {
  it("is the mean over its tokens, however they are batched", async () => {
    const model = await makeModel("full");
    // Each sample alone, weighed by its targets.
    let sum = 0;
    let targets = 0;
    for (const sample of samples) {
      const batch = collate([sample], { padTokenId: 0 });
      if (batch.trainableTokens === 0) continue;
      sum += noGrad(() => scope(() => modelLoss(model, batchInputs(batch, "cpu")).item())) * batch.trainableTokens;
      targets += batch.trainableTokens;
    }
    for (const size of [1, 2, 5]) {
      const result = await evaluateLoss(model, loader(size), { device: "cpu" });
      expect(result.trainableTokens).toBe(targets);
      expect(Math.abs(result.loss / (sum / targets) - 1)).toBeLessThan(1e-6);
      expect(result.perplexity).toBe(Math.exp(result.loss));
      expect(result).toMatchObject({
        samples: 5,
        inputTokens: 18,
        batches: Math.ceil(5 / size),
        batchesWithoutTrainableTokens: size === 5 ? 0 : 1,
      });
    }
  });

  it("comes with that of every batch, and leaves the model in its mode", async () => {
    const model = await makeModel("lora");
    model.train();
    const seen: BatchEvaluation[] = [];
    const result = await evaluateLoss(model, loader(1), { device: "cpu", onBatch: (batch) => void seen.push(batch) });
    expect(seen.map(({ index, trainableTokens }) => [index, trainableTokens])).toEqual([
      [0, 4],
      [1, 1],
      [2, 2],
      [3, 4],
      [4, 0],
    ]);
    expect(seen[4]?.loss).toBeNaN();
    const mean = seen.slice(0, 4).reduce((sum, { loss, trainableTokens }) => sum + loss * trainableTokens, 0) / 11;
    expect(mean).toBeCloseTo(result.loss, 6);
    expect(model.training).toBe(true);
    // Dropout is off: the same again.
    expect((await evaluateLoss(model, loader(1), { device: "cpu" })).loss).toBe(result.loss);
  });

  it("needs a sample", async () => {
    await expect(evaluateLoss(await makeModel("full"), new BatchList([]), { device: "cpu" })).rejects.toThrow(
      "(0 samples) has no trainable token: every label is missing",
    );
  });
});
