import { existsSync, renameSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { GeneratorState } from "@fms-accel/tensor";
import { z } from "zod";
import { snakeCase } from "../arguments/definition.ts";
import type { TrainingArguments } from "../arguments/groups.ts";
import { singleProcess, type Communicator } from "../communicator.ts";
import { TrainingCheckpointError } from "../errors.ts";
import type { LossScaler } from "../optimizer/loss-scaler.ts";
import type { Optimizer } from "../optimizer/optimizer.ts";
import type { Schedule } from "../schedules.ts";
import { trainerStateToJson, type LogEntry, type TrainerControl, type TrainerState } from "../training/state.ts";
import {
  checkpointFiles,
  loopStateSchema,
  readJson,
  readOptimizerState,
  scalerStateSchema,
  schedulerStateSchema,
  writeJson,
  writeOptimizerState,
  type LoopState,
} from "./files.ts";
import { readGenerator, writeGenerators } from "./generators.ts";

/** Everything a run is made of beside the model's weights. */
export interface RunSnapshot {
  readonly args: TrainingArguments;
  readonly state: TrainerState;
  readonly control: TrainerControl;
  readonly loop: LoopState;
  readonly optimizer: Optimizer;
  readonly schedule: Schedule;
  /** Optimiser steps made: where the schedule stands. */
  readonly scheduleStep: number;
  readonly scaler: LossScaler | undefined;
  /** Of every rank: where its default generator stands. */
  readonly generators: readonly GeneratorState[];
}

/** Writes the run into a folder that already has the model. */
export function writeRun(directory: string, run: RunSnapshot): void {
  const file = (name: keyof typeof checkpointFiles): string => join(directory, checkpointFiles[name]);
  if (!run.args.saveOnlyModel) {
    writeOptimizerState(file("optimizer"), run.optimizer.state());
    writeJson(file("scheduler"), { last_epoch: run.scheduleStep, last_lr: [run.schedule(run.scheduleStep)] });
    writeGenerators(directory, run.generators);
    if (run.scaler !== undefined) writeJson(file("scaler"), run.scaler.state());
  }
  writeJson(file("loopState"), run.loop);
  writeFileSync(file("trainerState"), trainerStateToJson(run.state, run.control));
  writeTrainingArguments(file("trainingArguments"), run.args);
}

/** `training_args.json`: every argument under its snake_case name. */
export function writeTrainingArguments(path: string, args: TrainingArguments): void {
  writeJson(path, Object.fromEntries(Object.entries(args).map(([key, value]) => [snakeCase(key), value as unknown])));
}

/** Writes a text file under a temporary name first, so that its old content is never half gone. */
export function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.tmp`, text);
  renameSync(`${path}.tmp`, path);
}

/** What `readRun` hands back beside what it puts into the optimiser, the scaler and the generator. */
export interface RestoredRun {
  readonly loop: LoopState;
  readonly scheduleStep: number;
  readonly saved: SavedTrainerState;
}

/** The part of trainer_state.json that goes on. */
export interface SavedTrainerState {
  readonly epoch: number;
  readonly global_step: number;
  readonly log_history: LogEntry[];
  readonly num_input_tokens_seen: number;
  readonly total_flos: number;
  readonly best_metric: number | null;
  readonly best_global_step: number | null;
  readonly best_model_checkpoint: string | null;
  readonly stateful_callbacks: Record<string, unknown>;
}

const savedStateSchema: z.ZodType<SavedTrainerState> = z.object({
  epoch: z.number(),
  global_step: z.int(),
  log_history: z.array(z.record(z.string(), z.union([z.number(), z.string()]))),
  num_input_tokens_seen: z.int(),
  total_flos: z.number(),
  best_metric: z.number().nullable(),
  best_global_step: z.int().nullable(),
  best_model_checkpoint: z.string().nullable(),
  stateful_callbacks: z.record(z.string(), z.unknown()),
});

/**
 * Puts optimiser, loss scaler and random generator back where a checkpoint left them.
 *
 * @throws TrainingCheckpointError naming the file and what is wrong with it
 */
export function readRun(
  directory: string,
  parts: { readonly optimizer: Optimizer; readonly scaler: LossScaler | undefined },
  ranks: Pick<Communicator, "rank" | "size"> = singleProcess,
): RestoredRun {
  const file = (name: keyof typeof checkpointFiles): string => join(directory, checkpointFiles[name]);
  const saved = readJson(file("trainerState"), savedStateSchema);
  const loop = readJson(file("loopState"), loopStateSchema);
  readOptimizerState(file("optimizer"), (state, done) => parts.optimizer.loadState(state, done));
  const { last_epoch: scheduleStep } = readJson(file("scheduler"), schedulerStateSchema);
  if (parts.scaler !== undefined) parts.scaler.setState(readJson(file("scaler"), scalerStateSchema));
  else if (existsSync(file("scaler"))) {
    throw new TrainingCheckpointError(`${directory}: was written with fp16, and this run is without; give fp16 again.`);
  }
  readGenerator(directory, ranks, loop.data.ranks);
  return { loop, scheduleStep, saved };
}

/** One sentence for each argument that is not what it was when the checkpoint was written. */
export function describeChangedArguments(directory: string, args: TrainingArguments): string[] {
  const path = join(directory, checkpointFiles.trainingArguments);
  if (!existsSync(path)) return [];
  const before = readJson(path, z.record(z.string(), z.unknown()));
  const silent = new Set([
    "outputDir",
    "resumeFromCheckpoint",
    "disableTqdm",
    "runName",
    "saveModelDir",
    "ignoreDataSkip",
  ]);
  const changes: string[] = [];
  for (const [key, value] of Object.entries(args)) {
    const name = snakeCase(key);
    if (silent.has(key) || !(name in before) || JSON.stringify(before[name]) === JSON.stringify(value)) continue;
    changes.push(
      `${name} was ${JSON.stringify(before[name])} in ${basename(directory)} and is ${JSON.stringify(value)} now.`,
    );
  }
  return changes;
}
