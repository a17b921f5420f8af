/** Training with multipack: a resumed run equals an uninterrupted one to the bit, and steps are counted as they are made. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { AutoModelForCausalLM, type CausalLM } from "@fms-accel/models";
import { fixturePath, temporaryDirectory } from "@fms-accel/test-utilities";
import {
  loadDataset,
  SftTrainer,
  TrainerSlots,
  TrainingCheckpointError,
  type TrainingArgumentsInput,
} from "@fms-accel/trainer";
import { defaultDevice } from "@fms-accel/tensor";
import { describe, expect, it } from "vitest";
import { createMultipackLoader, type MultipackSettings } from "../../src/index.ts";

const root = temporaryDirectory();
let folders = 0;

const samples = fixturePath("curves", "full-llama", "train.jsonl");

async function makeTrainer(settings: Partial<MultipackSettings>, args: TrainingArgumentsInput, lines: string[] = []) {
  const slots = new TrainerSlots<CausalLM>();
  slots.claim("dataLoader", "multipack", (_standard, { args: training, communicator, batchSampler, ...context }) =>
    createMultipackLoader(
      {
        ...context,
        unpacked: batchSampler,
        batchSize: training.perDeviceTrainBatchSize,
        isPaddingFree: false,
        position: { rank: communicator.rank, worldSize: communicator.size },
        seed: training.seed,
        say: (line) => lines.push(line),
      },
      { longSamples: "error", ...settings },
    ),
  );
  return new SftTrainer<CausalLM>({
    model: await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama"), { dtype: "float32" }),
    args: {
      perDeviceTrainBatchSize: 4,
      gradientAccumulationSteps: 2,
      learningRate: 2e-3,
      loggingSteps: 1,
      ...args,
    },
    trainDataset: await loadDataset(samples),
    slots,
    output: "silent",
  });
}

// Where a plan is taken up again is the host's doing, the same on every device.
const STOPS = defaultDevice() === "cpu" ? [1, 4, 6] : [4];

const newFolder = (): string => join(root, `run-${folders++}`);
const digest = (file: string): string => createHash("sha256").update(readFileSync(file)).digest("hex");

describe.each([
  ["padded batches", { capacity: 64 }],
  ["packed rows", { capacity: 96, rows: 2 }],
] as const)("%s", (_, settings) => {
  it.each(STOPS)("resumed after step %i", async (step) => {
    const whole = await makeTrainer(settings, { numTrainEpochs: 3, outputDir: newFolder(), saveStrategy: "epoch" });
    const output = await whole.train();
    const outputDir = newFolder();
    const first = await makeTrainer(settings, { numTrainEpochs: 3, outputDir, saveStrategy: "epoch" });
    first.addCallback({ onStepEnd: ({ state }) => void (state.globalStep === step && first.requestStop()) });
    expect(await first.train()).toMatchObject({ stopped: true, globalStep: step });
    const second = await makeTrainer(settings, {
      numTrainEpochs: 3,
      outputDir,
      resumeFromCheckpoint: true,
      saveStrategy: "epoch",
    });
    expect(await second.train()).toMatchObject({ globalStep: output.globalStep, trainingLoss: output.trainingLoss });
    const last = `checkpoint-${output.globalStep}`;
    for (const file of ["model.safetensors", "optimizer.safetensors"]) {
      expect(digest(join(outputDir, last, file))).toBe(digest(join(whole.args.outputDir ?? "", last, file)));
    }
  });
});

describe("a run", () => {
  it("has the steps of its plan, sees every sample once an epoch, and says how full its batches are", async () => {
    const lines: string[] = [];
    const trainer = await makeTrainer({ capacity: 96, rows: 2 }, { numTrainEpochs: 2, saveStrategy: "no" }, lines);
    let seen = 0;
    trainer.addCallback({ onStepEnd: ({ step }) => void (seen += step?.samples ?? 0) });
    const { globalStep } = await trainer.train();
    expect(trainer.state.maxSteps).toBe(globalStep);
    expect(trainer.state.epoch).toBe(2);
    expect(seen).toBe(80);
    expect(lines[0]).toMatch(
      /^Multipack: up to 96 tokens a batch, 2 packed rows\. 40 samples in \d+ batches on 1 rank, \d\d\.\d\d % full/,
    );
    expect(lines[1]).toMatch(
      /^Multipack: \d+\.\d\d % of \d+ positions are padding without it, \d+\.\d\d % of \d+ positions/,
    );
  });

  it("takes the batch size times the mean length for its capacity, and says so", async () => {
    const lines: string[] = [];
    const trainer = await makeTrainer({ longSamples: "truncate" }, { maxSteps: 1, saveStrategy: "no" }, lines);
    await trainer.train();
    expect(lines.join("\n")).toMatch(/tokens a batch \(batch size 4 × mean length \d+\.\d\), padded\./);
  });

  it("refuses long samples unless it was told what to do with them", async () => {
    const trainer = await makeTrainer({ capacity: 8 }, { maxSteps: 1, saveStrategy: "no" });
    await expect(trainer.train()).rejects.toThrow("samples are longer than a batch may be");
  });

  it("does not go on in batches of another capacity", async () => {
    const args = { maxSteps: 4, saveSteps: 2, outputDir: newFolder() } as const;
    await (await makeTrainer({ capacity: 64 }, args)).train();
    const other = await makeTrainer({ capacity: 80 }, { ...args, maxSteps: 6, resumeFromCheckpoint: true });
    const resumed = other.train();
    await expect(resumed).rejects.toThrow(TrainingCheckpointError);
    await expect(resumed).rejects.toThrow("was multipack, rows of 64 tokens × 1");
  });
});
