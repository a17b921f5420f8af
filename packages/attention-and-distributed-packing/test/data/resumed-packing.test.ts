/**
 * Padding-free and multipack together, as a configuration activates them: a run that was stopped in the middle of an epoch and goes on ends in the same
 * bits as one that was not; over numbered samples and over streams of jsonl and parquet, with accumulation, and on several ranks.
 */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AccelerationFramework } from "@fms-accel/framework";
import { AutoModelForCausalLM, getPeftModel, LoraConfig, modelTensors, type CausalLM } from "@fms-accel/models";
import { Generator } from "@fms-accel/tensor";
import { fixturePath, meetingRanks, temporaryDirectory } from "@fms-accel/test-utilities";
import {
  BatchList,
  createSampleReader,
  loadDataset,
  preprocessDataset,
  resolveTrainingArguments,
  SftTrainer,
  StreamLoader,
  Trainer,
  TrainerSlots,
  TrainingCheckpointError,
  type Communicator,
  type TrainerState,
  type TrainingArgumentsInput,
} from "@fms-accel/trainer";
import { describe, expect, it } from "vitest";
import { createMultipackPlanner, flattenSamples } from "../../src/index.ts";
import { plugins } from "../../src/plugins.ts";

const root = temporaryDirectory();
let folders = 0;
const newFolder = (): string => join(root, `run-${folders++}`);
const digest = (file: string): string => createHash("sha256").update(readFileSync(file)).digest("hex");

const registration = {
  packageName: "@fms-accel/attention-and-distributed-packing",
  version: "0.0.0",
  directory: undefined,
  manifest: {
    shortname: "aadp",
    entry: ".",
    paths: ["training.attention.padding_free", "training.dataloader.multipack"],
    options: ["padding_free", "multipack", "packing_capacity", "packing_rows"],
  },
  plugins,
};

/** 50 rows of 1 to 9 tokens in three row groups. */
const parquet = fixturePath("data", "files", "zstd.parquet");
/** 40 rows. */
const jsonl = fixturePath("curves", "full-llama", "train.jsonl");

interface Setting {
  readonly data?: string;
  readonly multipack?: Readonly<Record<string, number | string>>;
  readonly args?: TrainingArgumentsInput;
}

async function makeTrainer({ data = jsonl, multipack, args }: Setting, said: string[] = []) {
  const base = await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama"), { dtype: "float32" });
  const framework = await AccelerationFramework.create({
    configuration: {
      plugins: {
        training: {
          attention: { padding_free: { method: "huggingface" } },
          dataloader: { multipack: { capacity: 64, ...multipack } },
        },
      },
    },
    environment: {},
    plugins: { registrations: [registration] },
    say: (line) => said.push(line),
  });
  const settings: TrainingArgumentsInput = {
    perDeviceTrainBatchSize: 4,
    learningRate: 2e-3,
    loggingSteps: 1,
    saveStrategy: "epoch",
    ...args,
  };
  const { slots } = await framework.augment({
    model: base,
    args: resolveTrainingArguments(settings).training,
    peftConfig: undefined,
  });
  const config = new LoraConfig({ r: 4, loraAlpha: 8, loraDropout: 0.1, targetModules: "all-linear" });
  const trainer = new SftTrainer<CausalLM>({
    model: getPeftModel(base, config, { generator: new Generator(7) }),
    args: settings,
    trainDataset: await loadDataset(data),
    slots,
    output: { write: (text: string) => void said.push(text) },
  });
  framework.readyForTrain({ model: trainer.model, args: trainer.args });
  return trainer;
}

const steps = { maxSteps: 14, saveStrategy: "steps", saveSteps: 14 } as const;
const settings: readonly (readonly [name: string, setting: Setting, stops: readonly number[]])[] = [
  ["samples that are known", { args: { numTrainEpochs: 2 } }, [3, 9]],
  ["samples that are known, accumulated", { args: { numTrainEpochs: 3, gradientAccumulationSteps: 3 } }, [2, 4]],
  ["a stream of jsonl", { args: { ...steps, streaming: true, streamingWindow: 15 } }, [2, 5, 9]],
  [
    "a stream of parquet, accumulated",
    {
      data: parquet,
      multipack: { capacity: 12 },
      args: { ...steps, streaming: true, streamingWindow: 9, gradientAccumulationSteps: 3 },
    },
    [1, 2, 10],
  ],
  [
    "a stream whose long samples are split",
    { multipack: { capacity: 10, long_samples: "split" }, args: { ...steps, streaming: true, streamingWindow: 8 } },
    [4, 11],
  ],
];

describe.each(settings)("%s", (_, setting, stops) => {
  it(`stopped after step ${stops.join(" and ")}, goes on to the same end`, async () => {
    const whole = await makeTrainer({ ...setting, args: { ...setting.args, outputDir: newFolder() } });
    const output = await whole.train();
    expect(output.globalStep).toBeGreaterThan(stops.at(-1)!);

    const args = { ...setting.args, outputDir: newFolder() };
    let at = 0;
    for (const stop of stops) {
      const part = await makeTrainer({ ...setting, args: { ...args, resumeFromCheckpoint: at > 0 } });
      part.addCallback({ onStepEnd: ({ state }) => void (state.globalStep === stop && part.requestStop()) });
      expect(await part.train()).toMatchObject({ stopped: true, globalStep: stop });
      // In the middle of an epoch, or nothing would be shown.
      expect(part.state.epoch % 1).not.toBe(0);
      at = stop;
    }
    const last = await makeTrainer({ ...setting, args: { ...args, resumeFromCheckpoint: true } });
    expect(await last.train()).toMatchObject({ globalStep: output.globalStep, trainingLoss: output.trainingLoss });
    const name = `checkpoint-${output.globalStep}`;
    for (const file of ["adapter_model.safetensors", "optimizer.safetensors", "rng_state.json"])
      expect(digest(join(args.outputDir, name, file))).toBe(digest(join(whole.args.outputDir ?? "", name, file)));
  });
});

describe("a stream", () => {
  const args = { maxSteps: 9, saveStrategy: "no", streaming: true, streamingWindow: 12 } as const;

  it("of jsonl and of parquet with the same rows is the same run", async () => {
    const rows = await loadDataset(parquet);
    const lines: string[] = [];
    for await (const { input_ids: ids, labels } of rows.rows())
      lines.push(
        JSON.stringify({ input_ids: ids, labels }, (_, value: unknown) =>
          typeof value === "bigint" ? Number(value) : value,
        ),
      );
    const file = join(root, "rows.jsonl");
    writeFileSync(file, `${lines.join("\n")}\n`);
    const runs: unknown[][] = [];
    for (const data of [parquet, file]) {
      const trainer = await makeTrainer({ data, args });
      await trainer.train();
      runs.push(trainer.state.logHistory.map(({ loss, grad_norm: norm }) => ({ loss, norm })));
    }
    expect(runs[0]).toHaveLength(10);
    expect(runs[1]).toEqual(runs[0]);
  });

  it("says how it is read and packed, and what became of its rows", async () => {
    const said: string[] = [];
    const trainer = await makeTrainer({ multipack: { capacity: 10, long_samples: "drop" }, args }, said);
    await trainer.train();
    const text = said.join("\n");
    expect(text).toMatch(/Rule: multipack +Kind: replacement +Component: data_loader/);
    expect(text).toContain(
      "Training set: 40 rows, which become tokens while training goes on, in windows of 12 samples.",
    );
    expect(text).toMatch(/\d+ longer than the 10 tokens of a packed batch: dropped; rows 0, /);
    expect(text).toMatch(/Multipack: \d+ samples planned in \d+ batches on 1 rank, padding-free, \d\d\.\d\d % full\./);
  });

  it("refuses samples longer than a batch unless it was told what to do with them", async () => {
    const trainer = await makeTrainer({ multipack: { capacity: 10 }, args });
    await expect(trainer.train()).rejects.toThrow("longer than the 10 tokens of a packed batch: 11 tokens, 10 allowed");
  });

  it("does not go on in other windows", async () => {
    const outputDir = newFolder();
    const saved = { ...args, outputDir, saveStrategy: "steps", saveSteps: 4, maxSteps: 4 } as const;
    await (await makeTrainer({ args: saved })).train();
    const other = await makeTrainer({
      args: { ...saved, maxSteps: 6, streamingWindow: 13, resumeFromCheckpoint: true },
    });
    const resumed = other.train();
    await expect(resumed).rejects.toThrow(TrainingCheckpointError);
    await expect(resumed).rejects.toThrow("was stream, windows of 12 samples, multipack, rows of 64 tokens × 1");
  });
});

async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const list: Item[] = [];
  for await (const item of items) list.push(item);
  return list;
}

describe("a stream on three ranks", () => {
  const ranks = [0, 1, 2];

  async function loaders(): Promise<StreamLoader[]> {
    const dataset = await loadDataset(parquet);
    return ranks.map(
      (rank) =>
        new StreamLoader({
          dataset,
          openReader: () => createSampleReader(dataset, undefined),
          planner: createMultipackPlanner(
            { collator: flattenSamples, isPaddingFree: true, padTokenId: 0, position: { rank, worldSize: 3 }, seed: 3 },
            { capacity: 16, longSamples: "error" },
          ),
          windowSize: 12,
          say: () => {},
        }),
    );
  }

  it("has as many batches on each, every sample on one, and goes on anywhere with the same", async () => {
    const whole = await Promise.all((await loaders()).map(async (loader) => all(loader.batches(1, 0))));
    const count = whole[0]!.length;
    expect(whole.map(({ length }) => length)).toEqual([count, count, count]);
    const dataset = await loadDataset(parquet);
    using samples = await preprocessDataset(dataset, undefined);
    expect(whole.flat().reduce((sum, { samples: held }) => sum + held!, 0)).toBe(50);
    expect(whole.flat().reduce((sum, { tokens }) => sum + tokens, 0)).toBe(samples.lengths.reduce((a, b) => a + b, 0));
    for (const rank of ranks) {
      for (let first = 1; first < count; first++) {
        const begun = (await loaders())[rank]!;
        let made = 0;
        for await (const _ of begun.batches(1, 0)) if (++made === first) break;
        const place = begun.place(1, first);
        const rest = await all((await loaders())[rank]!.batches(1, first, place));
        expect(rest).toEqual(whole[rank]!.slice(first));
      }
    }
  });
});

describe("training from a stream on two ranks", () => {
  const args: TrainingArgumentsInput = {
    learningRate: 2e-3,
    maxSteps: 10,
    saveSteps: 10,
    loggingSteps: 1,
    streaming: true,
    streamingWindow: 13,
  };
  const slots = new TrainerSlots<CausalLM>();
  slots.claim("collator", "padding-free", () => flattenSamples);
  slots.claim("windowPlanner", "multipack", (_, { communicator, collator, padTokenId }) =>
    createMultipackPlanner(
      {
        collator,
        isPaddingFree: true,
        padTokenId,
        position: { rank: communicator.rank, worldSize: communicator.size },
        seed: 5,
      },
      { capacity: 48, longSamples: "error" },
    ),
  );

  const makeRank = async (communicator: Communicator, more: TrainingArgumentsInput) =>
    new SftTrainer<CausalLM>({
      model: await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama"), { dtype: "float32" }),
      args: { ...args, ...more },
      trainDataset: await loadDataset(jsonl),
      slots,
      communicator,
      output: "silent",
    });

  async function together(more: TrainingArgumentsInput, stop?: number): Promise<SftTrainer<CausalLM>[]> {
    const trainers = await Promise.all(meetingRanks(2).map((communicator) => makeRank(communicator, more)));
    for (const trainer of trainers)
      trainer.addCallback({ onStepEnd: ({ state }) => void (state.globalStep === stop && trainer.requestStop()) });
    await Promise.all(trainers.map((trainer) => trainer.train()));
    return trainers;
  }

  const losses = ({ state }: { readonly state: TrainerState }): number[] =>
    state.logHistory.flatMap(({ loss }) => (loss === undefined ? [] : [Number(loss)]));
  const weights = ({ model }: { readonly model: CausalLM }): Map<string, Float32Array> =>
    new Map(Array.from(modelTensors(model), ([name, tensor]) => [name, tensor.toFloat32Array()]));

  it("has the losses of one rank that has the batches of both in each step", async () => {
    const dataset = await loadDataset(jsonl);
    const dealt = await Promise.all(
      [0, 1].map((rank) =>
        all(
          new StreamLoader({
            dataset,
            openReader: () => createSampleReader(dataset, undefined),
            planner: createMultipackPlanner(
              {
                collator: flattenSamples,
                isPaddingFree: true,
                padTokenId: 0,
                position: { rank, worldSize: 2 },
                seed: 5,
              },
              { capacity: 48, longSamples: "error" },
            ),
            windowSize: 13,
            say: () => {},
          }).batches(0, 0),
        ),
      ),
    );
    const maxSteps = dealt[0]!.length;
    expect(maxSteps).toBeGreaterThan(3);
    const alone = new Trainer<CausalLM>({
      model: await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama"), { dtype: "float32" }),
      args: { learningRate: 2e-3, maxSteps, loggingSteps: 1, saveStrategy: "no", gradientAccumulationSteps: 2 },
      trainLoader: new BatchList(dealt[0]!.flatMap((batch, step) => [batch, dealt[1]![step]!])),
      output: "silent",
    });
    await alone.train();
    for (const trainer of await together({ maxSteps, saveStrategy: "no" })) {
      const found = losses(trainer);
      expect(found).toHaveLength(maxSteps);
      for (const [step, expected] of losses(alone).entries())
        expect(Math.abs(found[step]! / expected - 1), `step ${step + 1}`).toBeLessThan(1e-6);
    }
  });

  it.each([2, 5, 7])("goes on after step %i to the same bits", async (step) => {
    const whole = await together({ outputDir: newFolder() });
    const outputDir = newFolder();
    await together({ outputDir }, step);
    const resumed = await together({ outputDir, resumeFromCheckpoint: true });
    for (const trainer of resumed) {
      expect(losses(trainer)).toEqual(losses(whole[0]!));
      expect(weights(trainer)).toEqual(weights(whole[0]!));
    }
    const file = (folder: string | null): string =>
      digest(join(folder ?? "", "checkpoint-10", "optimizer.safetensors"));
    expect(file(outputDir)).toBe(file(whole[0]!.args.outputDir));
  });
});
