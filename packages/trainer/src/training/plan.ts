import type { TrainingArguments } from "../arguments/groups.ts";
import { TrainingError } from "../errors.ts";
import type { DataLoader } from "../slots.ts";

/** How long a run is. */
export interface TrainingPlan {
  /** Optimiser steps of a full epoch. */
  readonly stepsPerEpoch: number;
  readonly maxSteps: number;
  /** Epochs begun. */
  readonly epochs: number;
}

/**
 * Hugging Face's count: an epoch has as many steps as groups of gradient_accumulation_steps micro-batches, the last group may be smaller;
 * max_steps, when positive, overrides num_train_epochs.
 *
 * @throws TrainingError when the data set makes no batch
 */
export function planTraining(args: TrainingArguments, loader: DataLoader): TrainingPlan {
  const batches = loader.batchCount(0);
  if (batches === 0) {
    const hint = args.dataloaderDropLast ? " dataloader_drop_last drops a batch that is not full." : "";
    throw new TrainingError(`The training set (${loader.sampleCount} samples) makes no batch.${hint}`);
  }
  const stepsPerEpoch = Math.ceil(batches / args.gradientAccumulationSteps);
  if (args.maxSteps > 0)
    return { stepsPerEpoch, maxSteps: args.maxSteps, epochs: Math.ceil(args.maxSteps / stepsPerEpoch) };
  return {
    stepsPerEpoch,
    maxSteps: Math.ceil(args.numTrainEpochs * stepsPerEpoch),
    epochs: Math.ceil(args.numTrainEpochs),
  };
}
