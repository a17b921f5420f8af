import type { Module } from "@fms-accel/tensor";
import type { TrainingArguments } from "../arguments/groups.ts";
import type { DataLoader, SlotClaim } from "../slots.ts";
import type { TrainingPlan } from "./plan.ts";

/** What a run consists of. */
export interface AnnouncedRun {
  readonly args: TrainingArguments;
  readonly model: Module;
  readonly loader: DataLoader;
  readonly plan: TrainingPlan;
  readonly ranks: number;
  /** What plugins replace. */
  readonly claims: readonly SlotClaim[];
}

/** What is going to be trained, in the lines of Hugging Face's trainer. */
export function announceTraining({ args, model, loader, plan, ranks, claims }: AnnouncedRun): string[] {
  const { perDeviceTrainBatchSize: batchSize, gradientAccumulationSteps: accumulation } = args;
  const packer = claims.find(
    ({ slot }) => slot === "windowPlanner" || slot === "dataLoader" || slot === "batchSampler",
  );
  const samples = (count: number): string => (packer === undefined ? grouped(count) : `as ${packer.id} deals them out`);
  let trainable = 0;
  for (const [, parameter] of model.namedParameters()) if (parameter.requiresGrad) trainable += parameter.numel;
  return [
    "***** Running training *****",
    `Num examples = ${grouped(loader.sampleCount)}`,
    `Num Epochs = ${plan.epochs === Number.MAX_SAFE_INTEGER ? "as many as the steps take" : grouped(plan.epochs)}`,
    `Instantaneous batch size per device = ${samples(batchSize)}`,
    `Total train batch size (w. parallel, distributed & accumulation) = ${samples(batchSize * accumulation * ranks)}`,
    `Gradient Accumulation steps = ${grouped(accumulation)}`,
    `Total optimization steps = ${grouped(plan.maxSteps)}`,
    `Number of trainable parameters = ${grouped(trainable)}`,
  ];
}

function grouped(count: number): string {
  return count.toLocaleString("en-US");
}
