import type { TrainingArguments } from "../arguments/groups.ts";
import type { DataPosition, LoopState } from "../checkpoint/loop-state.ts";
import type { Communicator } from "../communicator.ts";
import { TrainingCheckpointError } from "../errors.ts";
import type { DataLoader } from "../slots.ts";

/** The loop before its first step. */
export function newLoopState(args: TrainingArguments, loader: DataLoader, communicator: Communicator): LoopState {
  return {
    sequence: 0,
    data: {
      epoch: 0,
      batches: 0,
      sampleCount: loader.sampleCount,
      batchSize: args.perDeviceTrainBatchSize,
      gradientAccumulationSteps: args.gradientAccumulationSteps,
      samplingStrategy: loader.order ?? args.trainSamplingStrategy,
      seed: args.dataSeed ?? args.seed,
      ranks: communicator.size,
      stream: undefined,
    },
    // Nothing of an epoch was done, so its end is not due.
    epochEnded: true,
    losses: { sinceLog: 0, stepsSinceLog: 0, total: 0, steps: 0 },
    gradNorm: null,
    learningRate: 0,
    counters: {
      batchesWithoutTrainableTokens: 0,
      stepsWithoutTrainableTokens: 0,
      stepsNotFinite: 0,
      trainableTokens: 0,
    },
  };
}

/**
 * Whether the position of a checkpoint means the same samples in this run.
 *
 * @throws TrainingCheckpointError naming what differs
 */
export function checkDataPosition(checkpoint: string, saved: DataPosition, now: DataPosition): void {
  const names = {
    sampleCount: "the number of training samples",
    batchSize: "per_device_train_batch_size",
    gradientAccumulationSteps: "gradient_accumulation_steps",
    samplingStrategy: "the order of samples (train_sampling_strategy, or packing)",
    seed: "data_seed (or seed)",
    ranks: "the number of ranks",
  } as const;
  const differences = Object.entries(names).flatMap(([key, name]) => {
    const [before, after] = [saved[key as keyof typeof names], now[key as keyof typeof names]];
    return before === after ? [] : [`${name} was ${before} and is ${after}`];
  });
  if (differences.length === 0) return;
  throw new TrainingCheckpointError(
    `${checkpoint}: its place in the data means nothing to this run: ${differences.join("; ")}. ` +
      "Give the same again, or ignore_data_skip to begin the epoch anew.",
  );
}
