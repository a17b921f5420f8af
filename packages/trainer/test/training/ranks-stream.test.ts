/** Training from a stream on several ranks: the same as one rank with as many micro-batches more, and exactly resumable. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { modelTensors, type CausalLM } from "@fms-accel/models";
import { fixturePath, meetingRanks, temporaryDirectory } from "@fms-accel/test-utilities";
import { defaultGenerator, manualSeed } from "@fms-accel/tensor";
import { describe, expect, it } from "vitest";
import { gatherGenerators, readGenerator, writeGenerators } from "../../src/checkpoint/generators.ts";
import { loadDataset, SftTrainer, type Communicator, type TrainingArgumentsInput } from "../../src/index.ts";
import { checkpointDigest, makeModel, outputFolder, untimed } from "./small-run.ts";

/** 40 rows in batches of 4: with two ranks 5 rounds an epoch. */
const common: TrainingArgumentsInput = {
  perDeviceTrainBatchSize: 4,
  learningRate: 2e-3,
  maxSteps: 8,
  saveSteps: 8,
  loggingSteps: 1,
  streaming: true,
};

async function start(args: TrainingArgumentsInput, communicator?: Communicator): Promise<SftTrainer<CausalLM>> {
  return new SftTrainer<CausalLM>({
    model: await makeModel("full"),
    args: { ...common, ...args },
    trainDataset: await loadDataset(fixturePath("curves", "full-llama", "train.jsonl")),
    ...(communicator === undefined ? {} : { communicator }),
    output: "silent",
  });
}

async function together(
  args: TrainingArgumentsInput,
  stopAfter?: number,
): Promise<readonly [SftTrainer<CausalLM>, SftTrainer<CausalLM>]> {
  const [one, two] = meetingRanks(2);
  const trainers = [await start(args, one), await start(args, two)] as const;
  for (const trainer of trainers)
    trainer.addCallback({ onStepEnd: ({ state }) => void (state.globalStep === stopAfter && trainer.requestStop()) });
  await Promise.all(trainers.map((trainer) => trainer.train()));
  return trainers;
}

const losses = ({ state }: SftTrainer<CausalLM>): number[] =>
  state.logHistory.flatMap(({ loss }) => (loss === undefined ? [] : [Number(loss)]));
const weights = ({ model }: SftTrainer<CausalLM>): Map<string, Float32Array> =>
  new Map(Array.from(modelTensors(model), ([name, tensor]) => [name, tensor.toFloat32Array()]));

describe.each([
  ["shuffled, windows of 16", { streamingWindow: 16 }],
  ["in order, windows that end within a round", { streamingWindow: 11, trainSamplingStrategy: "sequential" }],
  ["in windows of rows fewer than a round", { streamingWindow: 3, trainSamplingStrategy: "sequential" }],
] as const)("a stream on two ranks, %s", (_, args) => {
  it("has the losses of one rank with two micro-batches a step, and the same weights on both", async () => {
    const alone = await start({ ...args, saveStrategy: "no", gradientAccumulationSteps: 2 });
    await alone.train();
    const [first, second] = await together({ ...args, saveStrategy: "no" });
    const expected = losses(alone);
    expect(expected).toHaveLength(8);
    for (const trainer of [first, second]) {
      for (const [step, loss] of losses(trainer).entries())
        expect(Math.abs(loss / expected[step]! - 1), `step ${step + 1}`).toBeLessThan(1e-6);
    }
    expect(weights(second)).toEqual(weights(first));
  });

  it.each([1, 3, 5, 6])("goes on after step %i to the same bits", async (step) => {
    const [whole] = await together({ ...args, outputDir: outputFolder() });
    const outputDir = outputFolder();
    await together({ ...args, outputDir }, step);
    const [first, second] = await together({ ...args, outputDir, resumeFromCheckpoint: true });
    expect(untimed(first.state.logHistory)).toEqual(untimed(whole.state.logHistory));
    expect(weights(first)).toEqual(weights(whole));
    expect(weights(second)).toEqual(weights(whole));
    const digest = (folder: string): unknown => checkpointDigest(join(folder, "checkpoint-8"), "full", 2);
    expect(digest(outputDir)).toEqual(digest(whole.args.outputDir ?? ""));
  });
});

describe("the random numbers of several ranks", () => {
  it("are kept for each, and go on there", async () => {
    const states = [
      { seed: 7n, offset: 5n },
      { seed: 2n ** 64n - 1n, offset: 2n ** 63n + 3n },
    ];
    const gathering = meetingRanks(2).map((communicator, rank) => {
      defaultGenerator.setState(states[rank]!);
      return gatherGenerators(communicator);
    });
    const [one, two] = await Promise.all(gathering);
    expect([one, two]).toEqual([states, states]);
    const folder = temporaryDirectory();
    writeGenerators(folder, states);
    expect(readdirSync(folder).sort()).toEqual(["rng_state_0.json", "rng_state_1.json"]);
    for (const [rank, state] of states.entries()) {
      manualSeed(0);
      readGenerator(folder, { rank, size: 2 }, 2);
      expect(defaultGenerator.state()).toEqual(state);
    }
    readGenerator(folder, { rank: 2, size: 3 }, 2);
    expect(defaultGenerator.state()).toEqual(states[0]);
    expect(() => readGenerator(folder, { rank: 2, size: 3 }, 3)).toThrow("rng_state_2.json");
  });
});
