/**
 * One rank of two in a process of its own: padding-free and multipack as a configuration activates them, over numbered samples and over a
 * stream, with dropout, so that each rank has random numbers of its own.
 */
import { join } from "node:path";
import { AccelerationFramework } from "@fms-accel/framework";
import { AutoModelForCausalLM, getPeftModel, LoraConfig, type CausalLM } from "@fms-accel/models";
import { Generator } from "@fms-accel/tensor";
import { fixturePath, processRank } from "@fms-accel/test-utilities";
import {
  loadDataset,
  resolveTrainingArguments,
  SftTrainer,
  type Communicator,
  type TrainerCallback,
  type TrainingArgumentsInput,
} from "@fms-accel/trainer";
import { plugins } from "../../src/plugins.ts";

export const kinds = ["known", "stream"] as const;
export type Kind = (typeof kinds)[number];

const settings: Readonly<Record<Kind, TrainingArgumentsInput>> = {
  known: { numTrainEpochs: 2, gradientAccumulationSteps: 2 },
  stream: { maxSteps: 12, streaming: true, streamingWindow: 11 },
};

async function train(
  kind: Kind,
  outputDir: string,
  communicator: Communicator,
  makeCallback: (trainer: SftTrainer<CausalLM>) => TrainerCallback<CausalLM>,
): Promise<void> {
  const args: TrainingArgumentsInput = {
    learningRate: 2e-3,
    loggingSteps: 1,
    saveStrategy: "steps",
    saveSteps: 1,
    outputDir,
    resumeFromCheckpoint: true,
    ...settings[kind],
  };
  const registration = {
    packageName: "@fms-accel/attention-and-distributed-packing",
    version: "0.0.0",
    directory: undefined,
    manifest: { shortname: "aadp", entry: ".", paths: [], options: [] },
    plugins,
  };
  const framework = await AccelerationFramework.create({
    configuration: {
      plugins: {
        training: {
          attention: { padding_free: { method: "huggingface" } },
          dataloader: { multipack: { capacity: 40 } },
        },
      },
    },
    environment: {},
    plugins: { registrations: [registration] },
    communicator,
  });
  const base = await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama"), { dtype: "float32" });
  const { slots } = await framework.augment({
    model: base,
    args: resolveTrainingArguments(args).training,
    peftConfig: undefined,
  });
  const config = new LoraConfig({ r: 4, loraAlpha: 8, loraDropout: 0.1, targetModules: "all-linear" });
  const trainer = new SftTrainer<CausalLM>({
    model: getPeftModel(base, config, { generator: new Generator(7) }),
    args,
    trainDataset: await loadDataset(fixturePath("curves", "full-llama", "train.jsonl")),
    slots,
    communicator,
    output: "silent",
  });
  trainer.addCallback(makeCallback(trainer));
  framework.readyForTrain({ model: trainer.model, args: trainer.args });
  const { globalStep, stopped } = await trainer.train();
  process.stdout.write(`${outputDir}: ${stopped ? "stopped" : "ended"} after ${globalStep}\n`);
}

/**
 * `begin`: both kinds to their ends, then into other folders one that rank 1 alone stops in the middle of an epoch, and one that tells of every
 * checkpoint, to be killed. `go-on`: both of these to their ends.
 */
export default async function main(
  rank: string,
  size: string,
  phase: "begin" | "go-on",
  folder: string,
): Promise<void> {
  const communicator = processRank(Number(rank), Number(size));
  const run = (kind: Kind, name: string, callback: (trainer: SftTrainer<CausalLM>) => TrainerCallback<CausalLM>) =>
    train(kind, join(folder, name), communicator, callback);
  if (phase === "begin") {
    for (const kind of kinds) await run(kind, `${kind}-whole`, () => ({}));
    await run("known", "known-resumed", (trainer) => ({
      onStepEnd: ({ state }) => void (rank === "1" && state.globalStep === 3 && trainer.requestStop()),
    }));
    await run("stream", "stream-resumed", () => ({
      onSave: ({ state }) => void process.stdout.write(`saved ${state.globalStep}\n`),
    }));
  } else for (const kind of kinds) await run(kind, `${kind}-resumed`, () => ({}));
  await communicator.close();
}
