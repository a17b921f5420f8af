/** Packed rows of one size, attended by the kernel of this package, as CUDA graphs: the bits of steps that are launched kernel by kernel. */
import { ModelPatcher } from "@fms-accel/framework";
import { AutoModelForCausalLM } from "@fms-accel/models";
import { workStats } from "@fms-accel/tensor";
import { fixturePath } from "@fms-accel/test-utilities";
import { BatchList, Trainer, type Sample } from "@fms-accel/trainer";
import { expect, test } from "vitest";
import { collatePackedRows } from "../../src/data/packed-rows.ts";
import { flattenSamples } from "../../src/padding-free/flatten-samples.ts";
import { paddingFreeRule } from "../../src/padding-free/padding-free-rule.ts";

const sample = (length: number, seed: number): Sample => {
  const inputIds = Int32Array.from({ length }, (_, t) => 3 + ((seed * 31 + t * 17) % 90));
  return { inputIds, labels: inputIds };
};
const samples = (lengths: readonly number[], seed: number): Sample[] =>
  lengths.map((length, index) => sample(length, seed + index));

test.each([
  [
    "rows of samples side by side",
    [[5, 9, 3], [8, 8], [1, 2, 14], [6, 6, 4], [16], [9, 7]].map((lengths, step) =>
      collatePackedRows([samples(lengths, step), samples([7, 10], 50 + step)], { padTokenId: 0, width: 20 }),
    ),
  ],
  [
    "batches without padding",
    [
      [5, 9, 6],
      [8, 7, 5],
      [4, 2, 14],
      [6, 6, 8],
    ].map((lengths, step) => flattenSamples(samples(lengths, step))),
  ],
])("%s", async (_, batches) => {
  const run = async (cudaGraphs: boolean) => {
    const model = await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama"), { dtype: "float32" });
    const said: string[] = [];
    const patcher = new ModelPatcher();
    patcher.register(paddingFreeRule((line) => said.push(line)));
    patcher.patch(model);
    const lines: string[] = [];
    const waits: number[] = [];
    const note = (): void => void waits.push(workStats("cuda").waits);
    const steps = 2 * batches.length;
    const trainer = new Trainer({
      model,
      args: { learningRate: 1e-3, saveStrategy: "no", loggingSteps: steps, maxSteps: steps, cudaGraphs },
      trainLoader: new BatchList(batches),
      callbacks: [{ onTrainBegin: note, onStepEnd: note }],
      output: { write: (line: string) => lines.push(line) > 0 },
    });
    await trainer.train();
    expect(said).toEqual([]);
    expect(new Set(waits).size).toBe(1);
    const weights = [...model.parameters()].map((parameter) => Buffer.from(parameter.toBytes()).toString("base64"));
    return { weights, lines: lines.join("") };
  };
  const [plain, graphs] = [await run(false), await run(true)];
  expect(graphs.weights).toEqual(plain.weights);
  expect(graphs.lines).toMatch(/CUDA graphs: [1-4] captured \(\d+ kernels\), [1-9]\d* of \d+ steps replayed/);
  expect(graphs.lines).not.toMatch(/could not be captured/);
});
