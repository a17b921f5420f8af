import type { TrainingArguments } from "../arguments/groups.ts";
import { TrainingError } from "../errors.ts";
import type { DataLoader } from "../slots.ts";

/** How long a run is. */
export interface TrainingPlan {
  /** Optimiser steps. */
  readonly maxSteps: number;
  /** Epochs begun. */
  readonly epochs: number;
}

/**
 * Hugging Face's count: an epoch has as many steps as groups of gradient_accumulation_steps micro-batches, the last group may be smaller;
 * max_steps, when positive, overrides num_train_epochs. Epochs may differ in length: every one that is begun is counted by itself. A stream is
 * gone through as often as max_steps asks for.
 *
 * @throws TrainingError when the data set makes no batch, or for a stream without max_steps
 */
export async function planTraining(args: TrainingArguments, loader: DataLoader): Promise<TrainingPlan> {
  if (loader.batchCount(0) === Infinity) {
    if (args.maxSteps <= 0) throw new TrainingError("max_steps: a stream needs it, as its end is not known before.");
    return { maxSteps: args.maxSteps, epochs: Number.MAX_SAFE_INTEGER };
  }
  if (args.maxSteps > 0) {
    let epochs = 0;
    for (let steps = 0; steps < args.maxSteps; epochs++) steps += await stepsOfEpoch(args, loader, epochs);
    return { maxSteps: args.maxSteps, epochs };
  }
  const epochs = Math.ceil(args.numTrainEpochs);
  const first = await stepsOfEpoch(args, loader, 0);
  let before = 0;
  let last = first;
  let alike = true;
  for (let epoch = 1; epoch < epochs; epoch++) {
    before += last;
    last = await stepsOfEpoch(args, loader, epoch);
    alike &&= last === first;
  }
  // Hugging Face rounds the product; where epochs differ only the last one can be a part.
  const maxSteps = alike
    ? Math.ceil(args.numTrainEpochs * first)
    : before + Math.ceil((args.numTrainEpochs - (epochs - 1)) * last);
  return { maxSteps, epochs };
}

async function stepsOfEpoch(args: TrainingArguments, loader: DataLoader, epoch: number): Promise<number> {
  await loader.prepareEpoch?.(epoch);
  const batches = loader.batchCount(epoch);
  if (batches === 0) {
    const hint = args.dataloaderDropLast ? " dataloader_drop_last drops a batch that is not full." : "";
    throw new TrainingError(`The training set (${loader.sampleCount} samples) makes no batch.${hint}`);
  }
  return Math.ceil(batches / args.gradientAccumulationSteps);
}
