import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { SafetensorsFile, writeSafetensors } from "@fms-accel/models";
import type { Tensor } from "@fms-accel/tensor";
import { z } from "zod";
import { TrainingCheckpointError } from "../errors.ts";
import type { OptimizerState } from "../optimizer/optimizer.ts";
import { loopStateSchema, type LoopState } from "./loop-state.ts";

/** Files of `checkpoint-<step>/` beside those of the model; Hugging Face's names, JSON and safetensors in place of pickles. */
export const checkpointFiles = {
  trainerState: "trainer_state.json",
  trainingArguments: "training_args.json",
  optimizer: "optimizer.safetensors",
  scheduler: "scheduler.json",
  rngState: "rng_state.json",
  scaler: "scaler.json",
  loopState: "loop_state.json",
} as const;

export const schedulerStateSchema: z.ZodType<SchedulerState> = z.strictObject({
  last_epoch: z.int(),
  last_lr: z.array(z.number()),
});

/** Learning-rate schedule: `last_epoch` counts optimiser steps (torch's name), `last_lr` is what the next one uses. */
export interface SchedulerState {
  last_epoch: number;
  last_lr: number[];
}

export const rngStateSchema: z.ZodType<RngState> = z.strictObject({
  algorithm: z.literal("philox4x32-10"),
  seed: z.string().regex(/^\d+$/),
  offset: z.string().regex(/^\d+$/),
});

/** State of the default generator; 64-bit integers as decimal text. */
export interface RngState {
  algorithm: "philox4x32-10";
  seed: string;
  offset: string;
}

export const scalerStateSchema: z.ZodType<ScalerFile> = z.strictObject({
  scale: z.number(),
  growthTracker: z.int(),
  skippedSteps: z.int(),
});

export interface ScalerFile {
  scale: number;
  growthTracker: number;
  skippedSteps: number;
}

export { loopStateSchema, type LoopState };

export function writeJson(path: string, value: unknown): void {
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
}

/** @throws TrainingCheckpointError naming file, key and what was found */
export function readJson<Value>(path: string, schema: z.ZodType<Value>): Value {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    const reason = existsSync(path) ? (error as Error).message : "the file is missing";
    throw new TrainingCheckpointError(`${path}: cannot be read: ${reason}.`, { cause: error });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new TrainingCheckpointError(
    `${path}: ${issue?.path.join(".") || "the file"}: ${issue?.message ?? "unexpected content"}.`,
  );
}

/** Tensors by name; numbers go into the metadata. */
export function writeOptimizerState(path: string, state: OptimizerState): void {
  const metadata = Object.fromEntries(Object.entries(state.numbers).map(([name, value]) => [name, String(value)]));
  writeSafetensors(path, state.tensors, metadata);
}

/**
 * Calls `use` with the optimiser's state. The tensors are parts of the file, each mapped by itself: with `done` one leaves memory before the next is
 * read. They are valid only during the call.
 */
export function readOptimizerState(
  path: string,
  use: (state: OptimizerState, done: (tensor: Tensor) => void) => void,
): void {
  if (!existsSync(path)) {
    throw new TrainingCheckpointError(
      `${path}: the file is missing; a checkpoint written with save_only_model cannot be resumed from.`,
    );
  }
  const file = SafetensorsFile.open(path, { separately: true });
  const tensors = new Map<string, Tensor>();
  try {
    for (const name of file.entries.keys()) tensors.set(name, file.tensor(name));
    const numbers = Object.fromEntries([...file.header.metadata].map(([name, text]) => [name, Number(text)]));
    use({ tensors, numbers }, (tensor) => tensor.dispose());
  } finally {
    for (const tensor of tensors.values()) tensor.dispose();
    file.close();
  }
}
