/** What one rank decides, all do: none waits for another in a step or a checkpoint that is made on one side only. */
import { readdirSync } from "node:fs";
import { modelTensors, type CausalLM } from "@fms-accel/models";
import { meetingRanks } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import type { SftTrainer, TrainerCallback, TrainingArgumentsInput, TrainOutput } from "../../src/index.ts";
import { makeTrainer, outputFolder } from "./small-run.ts";

interface RankRun {
  readonly trainer: SftTrainer<CausalLM>;
  readonly output: TrainOutput;
}

/** 40 samples: with two ranks, batches of 4 and accumulation 1 there are 5 steps an epoch. */
async function together(
  args: TrainingArgumentsInput,
  onRankOne: (trainer: SftTrainer<CausalLM>) => TrainerCallback<CausalLM> = () => ({}),
): Promise<readonly [RankRun, RankRun]> {
  const runs = meetingRanks(2).map(async (communicator): Promise<RankRun> => {
    const trainer = await makeTrainer({
      kind: "lora",
      args: { numTrainEpochs: 2, gradientAccumulationSteps: 1, loggingSteps: 1, saveStrategy: "no", ...args },
      communicator,
    });
    if (communicator.rank === 1) trainer.addCallback(onRankOne(trainer));
    return { trainer, output: await trainer.train() };
  });
  const [zero, one] = await Promise.all(runs);
  return [zero!, one!];
}

const weights = ({ trainer: { model } }: RankRun): Map<string, Float32Array> =>
  new Map(Array.from(modelTensors(model), ([name, tensor]) => [name, tensor.toFloat32Array()]));

describe("a stop that one rank was asked for", () => {
  it("ends all after the same step, with a checkpoint that goes on to the same bits", async () => {
    const [whole] = await together({ outputDir: outputFolder() });
    expect(whole.output).toMatchObject({ stopped: false, globalStep: 10 });
    const outputDir = outputFolder();
    const stopped = await together({ outputDir }, (trainer) => ({
      onStepEnd: ({ state }) => void (state.globalStep === 3 && trainer.requestStop()),
    }));
    for (const { output } of stopped) expect(output).toMatchObject({ stopped: true, globalStep: 3 });
    expect(readdirSync(outputDir)).toContain("checkpoint-3");
    const resumed = await together({ outputDir, resumeFromCheckpoint: true });
    for (const run of resumed) expect(weights(run)).toEqual(weights(whole));
  });

  it("counts from wherever it comes: within a step, during an evaluation, before the first step", async () => {
    const within = await together({}, (trainer) => ({
      onPreOptimizerStep: ({ state }) => void (state.globalStep === 1 && trainer.requestStop()),
    }));
    const evaluating = await together({ evalStrategy: "steps", evalSteps: 4 }, (trainer) => ({
      onPredictionStep: () => trainer.requestStop(),
    }));
    const before = await together({}, (trainer) => ({ onTrainBegin: () => trainer.requestStop() }));
    const steps = [within, evaluating, before].map((runs) => runs.map(({ output }) => output.globalStep));
    expect(steps).toEqual([
      [2, 2],
      [4, 4],
      [0, 0],
    ]);
  });
});

describe("what a callback of one rank asks for", () => {
  it("is done by all: a checkpoint, the end of an epoch, the end of the run", async () => {
    const outputDir = outputFolder();
    const [zero, one] = await together({ outputDir, numTrainEpochs: 3 }, () => ({
      onStepEnd({ state, control }) {
        if (state.globalStep === 2) control.shouldSave = true;
        if (state.globalStep === 4) control.shouldEpochStop = true;
      },
      onLog({ state, control }) {
        if (state.globalStep === 7) control.shouldTrainingStop = true;
      },
    }));
    expect(readdirSync(outputDir)).toContain("checkpoint-2");
    for (const { output, trainer } of [zero, one]) {
      expect(output).toMatchObject({ stopped: false, globalStep: 7 });
      // Four steps of the first epoch, three of the five of the second.
      expect(trainer.state.epoch).toBeCloseTo(1.6, 12);
    }
    expect(weights(one)).toEqual(weights(zero));
  });

  it("is an evaluation, after which all go on", async () => {
    const [zero, one] = await together({ maxSteps: 3 }, () => ({
      onStepEnd({ state, control }) {
        control.shouldEvaluate = state.globalStep === 2;
      },
    }));
    for (const { trainer } of [zero, one])
      expect(trainer.state.logHistory.filter((entry) => "eval_loss" in entry).map(({ step }) => step)).toEqual([2]);
  });
});

describe("what is counted", () => {
  it("is what all ranks read", async () => {
    const alone = await makeTrainer({
      kind: "lora",
      args: { numTrainEpochs: 2, gradientAccumulationSteps: 2, saveStrategy: "no" },
    });
    await alone.train();
    const runs = await together({});
    for (const { trainer } of runs) {
      expect(trainer.state.numInputTokensSeen).toBe(alone.state.numInputTokensSeen);
      expect(trainer.state.totalFlos).toBe(alone.state.totalFlos);
      const metrics = trainer.state.logHistory.at(-1)!;
      const seconds = Number(metrics["train_runtime"]);
      expect(Number(metrics["train_samples_per_second"]) * seconds).toBeCloseTo(80, 6);
      expect(Number(metrics["train_tokens_per_second"]) * seconds).toBeCloseTo(alone.state.numInputTokensSeen, 6);
    }
    const [{ trainer }] = await together({
      evalStrategy: "steps",
      evalSteps: 5,
      maxSteps: 5,
      perDeviceEvalBatchSize: 3,
    });
    const metrics = trainer.state.logHistory.find((entry) => "eval_loss" in entry)!;
    const seconds = Number(metrics["eval_runtime"]);
    expect(Number(metrics["eval_samples_per_second"]) * seconds).toBeCloseTo(40, 6);
    // 14 batches, 7 on each.
    expect(Number(metrics["eval_steps_per_second"]) * seconds).toBeCloseTo(7, 6);
  });
});
