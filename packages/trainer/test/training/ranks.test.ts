/** Two ranks of the reference's distributed runs, here as two trainers of one process that meet in every collective. */
import { modelTensors } from "@fms-accel/models";
import { fixturePath, meetingRanks, readSafetensors, relativeDifference } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import {
  BatchList,
  collate,
  InMemoryDataset,
  loadDataset,
  SftTrainer,
  Trainer,
  type Batch,
  type Communicator,
  type LogEntry,
  type Row,
} from "../../src/index.ts";
import { curveArguments, curveModel, readCurve } from "./curve-run.ts";

describe.each(["ddp2-llama", "ddp2-llama-accumulate"])("%s", (name) => {
  const curve = readCurve(name);

  it("has the losses and gradient norms of the reference on both ranks, and the weights of one rank", async () => {
    const runs = meetingRanks(2).map(async (communicator) => {
      const trainer = new SftTrainer({
        model: await curveModel(name, curve),
        args: curveArguments(curve),
        trainDataset: await loadDataset(fixturePath("curves", name, "train.jsonl")),
        communicator,
        output: "silent",
      });
      await trainer.train();
      return trainer;
    });
    const trainers = await Promise.all(runs);
    const reference = readSafetensors(fixturePath("curves", "full-llama", "final", "model.safetensors"));
    for (const { model, state } of trainers) {
      const logged = state.logHistory.filter((entry) => "loss" in entry);
      expect(logged).toHaveLength(curve.steps.length);
      for (const [index, expected] of curve.steps.entries()) {
        expect(Math.abs(Number(logged[index]?.["loss"]) / expected.loss - 1)).toBeLessThan(1e-5);
        expect(Math.abs(Number(logged[index]?.["grad_norm"]) / expected.grad_norm - 1)).toBeLessThan(1e-5);
      }
      for (const [key, tensor] of modelTensors(model)) {
        expect(
          relativeDifference(tensor.toFloat32Array(), (reference.get(key)?.data ?? []) as Float32Array),
        ).toBeLessThan(1e-4);
      }
    }
  });
});

describe("a rank without samples in the last step", () => {
  it("ends with the weights of one rank that has all of them", async () => {
    const curve = readCurve("full-llama");
    const batch = (ids: readonly number[]): Batch =>
      collate([{ inputIds: Int32Array.from(ids), labels: Int32Array.from(ids) }], { padTokenId: 0 });
    const nothing: Batch = {
      shape: [0, 0],
      inputIds: new Int32Array(),
      labels: new Int32Array(),
      tokens: 0,
      trainableTokens: 0,
    };
    const [one, two, three] = [batch([5, 6, 7]), batch([8, 9, 10, 11]), batch([12, 13])];
    const train = async (batches: readonly Batch[], accumulation: number, communicator?: Communicator) => {
      const trainer = new Trainer({
        model: await curveModel("full-llama", curve),
        args: {
          numTrainEpochs: 1,
          saveStrategy: "no",
          gradientAccumulationSteps: accumulation,
          loggingSteps: 1,
          noTrainableTokens: "error",
        },
        trainLoader: new BatchList(batches),
        ...(communicator === undefined ? {} : { communicator }),
        output: "silent",
      });
      expect(await trainer.train()).toMatchObject({ globalStep: 2 });
      return new Map(Array.from(modelTensors(trainer.model), ([key, tensor]) => [key, tensor.toFloat32Array()]));
    };
    const expected = await train([one, two, three], 2);
    const [left, right] = meetingRanks(2);
    const found = await Promise.all([train([one, three], 1, left), train([two, nothing], 1, right)]);
    for (const weights of found) {
      for (const [key, values] of expected)
        expect(relativeDifference(weights.get(key) ?? [], values)).toBeLessThan(1e-5);
    }
    expect(found[0]).toEqual(found[1]);
  });
});

describe("an evaluation on several ranks", () => {
  it("sees every sample once", async () => {
    const rows: Row[] = [
      [5, 6, 7],
      [8, 9],
      [10, 11, 12, 13],
      [14, 15],
      [16, 17, 18],
    ].map((ids) => ({ input_ids: ids }));
    const curve = readCurve("full-llama");
    const evaluate = async (communicator?: Communicator): Promise<LogEntry> => {
      const trainer = new SftTrainer({
        model: await curveModel("full-llama", curve),
        args: { saveStrategy: "no", perDeviceEvalBatchSize: 2 },
        evalDataset: new InMemoryDataset(rows),
        ...(communicator === undefined ? {} : { communicator }),
        output: "silent",
      });
      return trainer.evaluate();
    };
    const alone = await evaluate();
    const together = await Promise.all(meetingRanks(2).map(evaluate));
    for (const metrics of together)
      expect(Math.abs(Number(metrics["eval_loss"]) / Number(alone["eval_loss"]) - 1)).toBeLessThan(1e-6);
  });
});
