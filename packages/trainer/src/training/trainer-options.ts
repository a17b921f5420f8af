import type { TrainingArguments, TrainingArgumentsInput } from "../arguments/groups.ts";
import type { ModelFiles } from "../checkpoint/model-files.ts";
import type { Communicator } from "../communicator.ts";
import type { TerminalOutput } from "../reporting/terminal-output.ts";
import type { DataLoader, LossFunction, TrainableModel, TrainerSlots } from "../slots.ts";
import type { TrainerCallback } from "./callbacks.ts";
import type { LogEntry } from "./state.ts";

/** Something that is saved with the model: a tokenizer. */
export interface ProcessingClass {
  savePretrained(directory: string): unknown;
}

/** What a data loader is made from. */
export interface LoaderContext {
  readonly args: TrainingArguments;
  readonly communicator: Communicator;
  /** Shows a line. */
  readonly say: (line: string) => void;
}

export type LoaderSource = DataLoader | ((context: LoaderContext) => Promise<DataLoader>);

export interface TrainerOptions<Model extends TrainableModel> {
  readonly model: Model;
  /** Any subset of TrainingArguments. */
  readonly args: TrainingArgumentsInput;
  /** Micro-batches, or how to make them when training begins. */
  readonly trainLoader?: LoaderSource;
  /** Needed when eval_strategy is not "no", and for `evaluate()`. */
  readonly evalLoader?: LoaderSource;
  /** Saved with the model in every checkpoint. */
  readonly processingClass?: ProcessingClass;
  readonly callbacks?: readonly TrainerCallback<Model>[];
  /** Default: what the model itself computes from its labels. */
  readonly loss?: LossFunction<Model>;
  /** Parts that plugins replace; of batches only the data loader is there to be replaced. */
  readonly slots?: TrainerSlots<Model>;
  /** Default: Hugging Face's layout. */
  readonly modelFiles?: ModelFiles<Model>;
  readonly communicator?: Communicator;
  /** Where progress goes: a stream (default: standard error), or "silent". */
  readonly output?: TerminalOutput | "silent";
}

export interface TrainOptions {
  /** Overrides the argument of the same name. */
  readonly resumeFromCheckpoint?: boolean | string;
  /** When it aborts, the step under way is finished, a checkpoint is written and `train` returns. */
  readonly signal?: AbortSignal;
}

/** How a run ended; Hugging Face's TrainOutput, and whether it was stopped. */
export interface TrainOutput {
  readonly globalStep: number;
  /** Mean of the step losses. */
  readonly trainingLoss: number;
  /** train_runtime and so on; the last entry of log_history. Empty when the run was stopped. */
  readonly metrics: LogEntry;
  /** Whether `requestStop` or the signal ended the run before its last step. */
  readonly stopped: boolean;
  /** The checkpoint written last, if any. */
  readonly checkpoint: string | undefined;
}
