/** A run that was stopped and resumed equals one that was not, to the bit. */
import { existsSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, it } from "vitest";
import { TrainingCheckpointError, type TrainerCallback, type TrainingArgumentsInput } from "../../src/index.ts";
import type { CausalLM } from "@fms-accel/models";
import { checkpointDigest, makeTrainer, outputFolder, trainSmall, untimed } from "./small-run.ts";

interface Setting {
  readonly name: string;
  readonly kind: "full" | "lora";
  readonly args: TrainingArgumentsInput;
  readonly stops: readonly number[];
}

/** 40 samples in batches of 4, 2 of them a step: 5 steps an epoch. */
const settings: readonly Setting[] = [
  {
    name: "all weights, logs and evaluations between the steps",
    kind: "full",
    args: { maxSteps: 12, saveSteps: 12, loggingSteps: 5, evalSteps: 4, warmupSteps: 2, weightDecay: 0.1 },
    stops: [1, 5, 8],
  },
  {
    name: "an adapter with dropout, by epochs",
    kind: "lora",
    args: { numTrainEpochs: 2.4, evalStrategy: "epoch" },
    stops: [1, 5, 8],
  },
  { name: "bfloat16", kind: "full", args: { maxSteps: 9, saveSteps: 9, loggingSteps: 1, bf16: true }, stops: [7] },
  {
    name: "float16 with its loss scale",
    kind: "lora",
    args: { maxSteps: 9, saveSteps: 9, loggingSteps: 2, fp16: true },
    stops: [7],
  },
  {
    name: "a stream in windows that end within a step",
    kind: "lora",
    args: { maxSteps: 12, saveSteps: 12, loggingSteps: 5, streaming: true, streamingWindow: 11 },
    stops: [1, 4, 5, 8],
  },
  {
    name: "grouped by length, recomputed",
    kind: "lora",
    args: {
      maxSteps: 9,
      saveSteps: 9,
      loggingSteps: 5,
      trainSamplingStrategy: "group_by_length",
      gradientCheckpointing: true,
    },
    stops: [7],
  },
];

/** Asks for a stop at the end of a step. */
function stopAfter(step: number, stop: () => void): TrainerCallback<CausalLM> {
  return {
    onStepEnd: ({ state }) => {
      if (state.globalStep === step) stop();
    },
  };
}

describe.each(settings)("$name", ({ kind, args, stops }) => {
  it.each(stops)("resumed after step %i", async (step) => {
    const whole = outputFolder();
    const parts = outputFolder();
    const { trainer: uninterrupted, output } = await trainSmall({ kind, args: { ...args, outputDir: whole } });
    expect(output.stopped).toBe(false);

    const abort = new AbortController();
    const first = await trainSmall({
      kind,
      args: { ...args, outputDir: parts },
      callbacks: [stopAfter(step, () => abort.abort())],
      options: { signal: abort.signal },
    });
    expect(first.output).toMatchObject({
      stopped: true,
      globalStep: step,
      checkpoint: join(parts, `checkpoint-${step}`),
    });

    const second = await trainSmall({ kind, args: { ...args, outputDir: parts, resumeFromCheckpoint: true } });
    expect(second.output).toMatchObject({
      stopped: false,
      globalStep: output.globalStep,
      trainingLoss: output.trainingLoss,
    });
    expect(untimed(second.trainer.state.logHistory)).toEqual(untimed(uninterrupted.state.logHistory));
    const last = `checkpoint-${output.globalStep}`;
    expect(checkpointDigest(join(parts, last), kind)).toEqual(checkpointDigest(join(whole, last), kind));
  });
});

describe("resuming", () => {
  const args = { maxSteps: 6, saveSteps: 2, loggingSteps: 2 } as const;

  it("of a finished run only finishes it again", async () => {
    const folder = outputFolder();
    const first = await trainSmall({ kind: "full", args: { ...args, outputDir: folder } });
    const again = await trainSmall({ kind: "full", args: { ...args, outputDir: folder, resumeFromCheckpoint: true } });
    expect(again.output.globalStep).toBe(6);
    expect(untimed(again.trainer.state.logHistory)).toEqual(untimed(first.trainer.state.logHistory));
  });

  it("refuses a place in other data, and can begin the epoch anew", async () => {
    const folder = outputFolder();
    await trainSmall({ kind: "full", args: { ...args, maxSteps: 3, saveSteps: 3, outputDir: folder } });
    const other = {
      ...args,
      outputDir: folder,
      resumeFromCheckpoint: true,
      perDeviceTrainBatchSize: 2,
      seed: 1,
    } as const;
    const refused = trainSmall({ kind: "full", args: other });
    await expect(refused).rejects.toThrow(TrainingCheckpointError);
    await expect(refused).rejects.toThrow(
      "per_device_train_batch_size was 4 and is 2; data_seed (or seed) was 42 and is 1",
    );
    const { output } = await trainSmall({ kind: "full", args: { ...other, ignoreDataSkip: true } });
    expect(output.globalStep).toBe(6);
  });

  it("names what is missing in a checkpoint", async () => {
    const folder = outputFolder();
    await trainSmall({ kind: "full", args: { ...args, saveOnlyModel: true, outputDir: folder } });
    const resumed = trainSmall({
      kind: "full",
      args: { ...args, outputDir: folder, resumeFromCheckpoint: "checkpoint-4" },
    });
    await expect(resumed).rejects.toThrow("a checkpoint written with save_only_model cannot be resumed from");
  });

  it("refuses a checkpoint of another model", async () => {
    const folder = outputFolder();
    await trainSmall({ kind: "lora", args: { ...args, outputDir: folder } });
    const resumed = trainSmall({ kind: "full", args: { ...args, outputDir: folder, resumeFromCheckpoint: true } });
    await expect(resumed).rejects.toThrow("holds an adapter, not a model");
  });

  it("keeps the newest checkpoints, and Hugging Face's files in each", async () => {
    const folder = outputFolder();
    await trainSmall({ kind: "lora", args: { ...args, saveTotalLimit: 2, outputDir: folder } });
    expect(readdirSync(folder).sort()).toEqual([
      "checkpoint-4",
      "checkpoint-6",
      "trainer_state.json",
      "training_args.json",
      "training_logs.jsonl",
    ]);
    expect(readdirSync(join(folder, "checkpoint-6")).sort()).toEqual([
      "README.md",
      "adapter_config.json",
      "adapter_model.safetensors",
      "loop_state.json",
      "optimizer.safetensors",
      "rng_state.json",
      "scheduler.json",
      "trainer_state.json",
      "training_args.json",
    ]);
    const state = JSON.parse(readFileSync(join(folder, "trainer_state.json"), "utf8")) as Record<string, unknown>;
    expect(Object.keys(state)).toEqual([
      "best_global_step",
      "best_metric",
      "best_model_checkpoint",
      "epoch",
      "eval_steps",
      "global_step",
      "is_hyper_param_search",
      "is_local_process_zero",
      "is_world_process_zero",
      "log_history",
      "logging_steps",
      "max_steps",
      "num_input_tokens_seen",
      "num_train_epochs",
      "save_steps",
      "stateful_callbacks",
      "total_flos",
      "train_batch_size",
      "trial_name",
      "trial_params",
    ]);
    expect(state).toMatchObject({
      global_step: 6,
      max_steps: 6,
      num_train_epochs: 2,
      train_batch_size: 4,
      save_steps: 2,
    });
  });

  it("goes back to the best weights at the end, and keeps them through rotation", async () => {
    const folder = outputFolder();
    const best = {
      maxSteps: 8,
      saveSteps: 2,
      evalSteps: 2,
      loadBestModelAtEnd: true,
      saveTotalLimit: 1,
      greaterIsBetter: true,
      outputDir: folder,
    } as const;
    const trainer = await makeTrainer({ kind: "full", args: best });
    await trainer.train();
    const evaluations = trainer.state.logHistory.filter((entry) => "eval_loss" in entry);
    const losses = evaluations.map((entry) => Number(entry["eval_loss"]));
    // The loss falls, and the largest is wanted here: the best is an early one.
    const largest = Math.max(...losses);
    expect(trainer.state.bestMetric).toBe(largest);
    expect(losses.at(-1)).toBeLessThan(largest);
    const kept = basename(trainer.state.bestModelCheckpoint ?? "");
    expect(kept).toBe(`checkpoint-${evaluations[losses.indexOf(largest)]?.["step"]}`);
    expect(readdirSync(folder).filter((name) => name.startsWith("checkpoint"))).toEqual([kept, "checkpoint-8"].sort());
    expect((await trainer.evaluate())["eval_loss"]).toBe(trainer.state.bestMetric);
  });

  it("finds the best weights where the folder was moved to", async () => {
    const before = outputFolder();
    const best = { maxSteps: 6, saveSteps: 2, evalSteps: 2, loadBestModelAtEnd: true, greaterIsBetter: true } as const;
    await trainSmall({ kind: "full", args: { ...best, outputDir: before } });
    const after = outputFolder();
    renameSync(before, after);
    const moved = await makeTrainer({
      kind: "full",
      args: { ...best, outputDir: after, resumeFromCheckpoint: "checkpoint-4" },
    });
    await moved.train();
    expect((await moved.evaluate())["eval_loss"]).toBe(moved.state.bestMetric);
  });

  it("writes nothing where nothing was asked for", async () => {
    const folder = outputFolder();
    const { output } = await trainSmall({ kind: "full", args: { maxSteps: 1, saveStrategy: "no" } });
    expect(output.checkpoint).toBeUndefined();
    expect(existsSync(folder)).toBe(false);
  });
});
