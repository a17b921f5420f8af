import { snakeCase } from "../arguments/definition.ts";

/** One entry of log_history: numbers by Hugging Face's names (`loss`, `grad_norm`, `learning_rate`, `eval_loss`, …), with `epoch` and `step`. */
export type LogEntry = Readonly<Record<string, number | string>>;

/** Where a run stands; Hugging Face's TrainerState. Written to `trainer_state.json`. */
export interface TrainerState {
  /** Passes over the training set so far, with the fraction of the current one. */
  epoch: number;
  /** Optimiser steps done. */
  globalStep: number;
  /** Optimiser steps of the whole run. */
  maxSteps: number;
  numTrainEpochs: number;
  /** Steps between log entries, evaluations and checkpoints, fractions resolved. */
  loggingSteps: number;
  evalSteps: number;
  saveSteps: number;
  trainBatchSize: number;
  /** Tokens of training samples read so far by all ranks, padding not counted. */
  numInputTokensSeen: number;
  /** Floating-point operations of all ranks so far, by the usual estimate of 6 × tokens × parameters without embeddings. */
  totalFlos: number;
  logHistory: LogEntry[];
  bestMetric: number | null;
  bestGlobalStep: number | null;
  bestModelCheckpoint: string | null;
  isLocalProcessZero: boolean;
  isWorldProcessZero: boolean;
  /** States of callbacks that have one, by name. */
  statefulCallbacks: Record<string, unknown>;
}

/** What the trainer is to do next; Hugging Face's TrainerControl. Callbacks may set any of it; what one rank sets holds on all. */
export interface TrainerControl {
  shouldTrainingStop: boolean;
  shouldEpochStop: boolean;
  shouldSave: boolean;
  shouldEvaluate: boolean;
  shouldLog: boolean;
}

export function newTrainerState(): TrainerState {
  return {
    epoch: 0,
    globalStep: 0,
    maxSteps: 0,
    numTrainEpochs: 0,
    loggingSteps: 0,
    evalSteps: 0,
    saveSteps: 0,
    trainBatchSize: 0,
    numInputTokensSeen: 0,
    totalFlos: 0,
    logHistory: [],
    bestMetric: null,
    bestGlobalStep: null,
    bestModelCheckpoint: null,
    isLocalProcessZero: true,
    isWorldProcessZero: true,
    statefulCallbacks: {},
  };
}

export function newTrainerControl(): TrainerControl {
  return {
    shouldTrainingStop: false,
    shouldEpochStop: false,
    shouldSave: false,
    shouldEvaluate: false,
    shouldLog: false,
  };
}

/** `trainer_state.json` as Hugging Face lays it out: snake_case, sorted keys. */
export function trainerStateToJson(state: TrainerState, control: TrainerControl): string {
  const fields: Record<string, unknown> = { is_hyper_param_search: false, trial_name: null, trial_params: null };
  for (const [key, value] of Object.entries(state)) fields[snakeCase(key)] = value;
  const flags = Object.fromEntries(Object.entries(control).map(([key, value]) => [snakeCase(key), value as unknown]));
  fields["stateful_callbacks"] = { TrainerControl: { args: flags, attributes: {} }, ...state.statefulCallbacks };
  const sorted = Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify(sorted, null, 2)}\n`;
}
