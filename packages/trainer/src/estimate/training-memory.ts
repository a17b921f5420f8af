import { dryRun, memoryStats, resetPeakMemory } from "@fms-accel/tensor";
import type { TrainingArguments } from "../arguments/groups.ts";
import { singleProcess } from "../communicator.ts";
import { LossScaler } from "../optimizer/loss-scaler.ts";
import { NamedAdamW } from "../optimizer/named-adamw.ts";
import { createParameterGroups } from "../optimizer/parameter-groups.ts";
import type { Batch, LossFunction, TrainableModel } from "../slots.ts";
import { modelLoss } from "../training/model-loss.ts";
import { enableGradientCheckpointing, modelDevice, precisionOf } from "../training/precision.ts";
import { TrainingRun } from "../training/training-run.ts";

/** What the memory of a training step is made of; bytes of tensors unless the name says otherwise. */
export interface TrainingMemory {
  /** Numbers of the model, and how many of them are trained. */
  readonly parameters: { readonly total: number; readonly trainable: number };
  /** All weights, frozen ones too. */
  readonly weights: number;
  readonly frozenWeights: number;
  readonly gradients: number;
  /** What AdamW remembers. */
  readonly optimizer: number;
  /** What one micro-batch's forward pass keeps for backward, the gradient of a trained head among it. */
  readonly activations: number;
  /** The most that tensors hold at once: not the sum of the above, since activations go as gradients come. */
  readonly peak: number;
  /** Free blocks that the engine keeps for reuse beside the peak. */
  readonly cached: number;
}

export interface TrainingShape {
  /** Samples of a micro-batch. */
  readonly rows: number;
  /** Tokens of a row, padding included. */
  readonly width: number;
  /** Tokens of the samples that a row holds, where it holds several; default: the width. */
  readonly sample?: number;
}

const noEvents = {
  afterBatch: async (): Promise<void> => {},
  beforeUpdate: async (): Promise<void> => {},
  afterUpdate: async (): Promise<void> => {},
};

/**
 * What training will take, by a dry run of two optimiser steps (see `dryRun` of @fms-accel/tensor): the model's own code, the optimiser's
 * and the trainer's allocate what they would allocate, and nothing is computed.
 *
 * @param makeModel makes the model as it will be trained, adapter included; called inside the dry run
 * @param args of the run; counts are micro-batches, precision and gradient checkpointing
 */
export async function measureTrainingMemory<Model extends TrainableModel>(
  makeModel: () => Model | Promise<Model>,
  args: Pick<
    TrainingArguments,
    "gradientAccumulationSteps" | "bf16" | "fp16" | "gradientCheckpointing" | "maxGradNorm"
  >,
  shape: TrainingShape,
  loss: LossFunction<Model> = modelLoss,
): Promise<TrainingMemory> {
  return dryRun(async () => {
    const before = memoryStats().liveBytes;
    const live = (): number => memoryStats().liveBytes - before;
    const model = await makeModel();
    const parameters = [...model.namedParameters()].map(([, parameter]) => parameter);
    const trainable = parameters.filter(({ requiresGrad }) => requiresGrad);
    const groups = createParameterGroups(model, 0);
    const optimizer = new NamedAdamW(groups, { betas: [0.9, 0.999], eps: 1e-8 });
    try {
      const weights = live();
      if (args.gradientCheckpointing) enableGradientCheckpointing(model);
      model.train();
      let activations = 0;
      const watchedLoss: LossFunction<Model> = (ofModel, inputs) => {
        const start = live();
        const result = loss(ofModel, inputs);
        activations = Math.max(activations, live() - start);
        return result;
      };
      const run = new TrainingRun<Model>(
        {
          model,
          loss: watchedLoss,
          params: optimizer.params,
          device: modelDevice(model),
          autocastDtype: precisionOf(args).autocastDtype,
          scaler: args.fp16 ? new LossScaler() : undefined,
          communicator: singleProcess,
          maxGradNorm: args.maxGradNorm,
        },
        optimizer,
        () => 0,
      );
      const batches = Array<Batch>(Math.min(args.gradientAccumulationSteps, 2)).fill(emptyBatch(shape));
      await run.step(batches, noEvents);
      // Only from the second step on the optimiser's memory lies beside the activations.
      resetPeakMemory();
      await run.step(batches, noEvents);
      const { peakBytes, cachedBytes, liveBytes } = memoryStats();
      const peak = peakBytes - before;
      const gradients = trainable.reduce((sum, { numel, dtype }) => sum + numel * bytesOf(dtype), 0);
      const optimizerBytes = trainable.reduce((sum, { numel }) => sum + 8 * numel, 0);
      return {
        parameters: { total: count(parameters), trainable: count(trainable) },
        weights,
        frozenWeights: weights - trainable.reduce((sum, { numel, dtype }) => sum + numel * bytesOf(dtype), 0),
        gradients,
        optimizer: optimizerBytes,
        activations,
        peak,
        cached: Math.max(0, cachedBytes + liveBytes - before - peak),
      };
    } finally {
      optimizer.zeroGrad();
      optimizer.dispose();
      for (const parameter of parameters) parameter.dispose();
      model.dispose();
    }
  });
}

function count(parameters: readonly { readonly numel: number }[]): number {
  return parameters.reduce((sum, { numel }) => sum + numel, 0);
}

function bytesOf(dtype: string): number {
  return dtype === "float32" ? 4 : 2;
}

/** Tokens that all have a target. */
function emptyBatch({ rows, width, sample = width }: TrainingShape): Batch {
  const tokens = rows * width;
  const places = Int32Array.from({ length: tokens }, (_, at) => at % width);
  return {
    shape: [rows, width],
    inputIds: new Int32Array(tokens),
    labels: new Int32Array(tokens),
    tokens,
    trainableTokens: rows * (width - 1),
    ...(sample < width
      ? { positionIds: places.map((at) => at % sample), sequenceIds: places.map((at) => Math.floor(at / sample)) }
      : {}),
  };
}
