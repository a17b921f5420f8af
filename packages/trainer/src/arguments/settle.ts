import { ArgumentError } from "../errors.ts";
import type { TrainingArguments } from "./groups.ts";

/**
 * Settles arguments that depend on each other, and refuses those that contradict each other.
 *
 * @param given names in snake_case of what was set, as opposed to left at its default
 */
export function settleTrainingArguments(
  values: TrainingArguments,
  given: ReadonlySet<string>,
): { training: TrainingArguments; notes: readonly string[] } {
  const settled: { -readonly [Key in keyof TrainingArguments]: TrainingArguments[Key] } = { ...values };
  const notes: string[] = [];

  // fms-hf-tuning logs and saves by epoch unless told otherwise, and would then pass over the steps without a word.
  for (const event of ["logging", "save", "eval"] as const) {
    if (!given.has(`${event}_steps`) || given.has(`${event}_strategy`)) continue;
    settled[`${event}Strategy`] = "steps";
    notes.push(`${event}_steps is given, so ${event}_strategy is steps.`);
  }
  if (settled.evalStrategy === "steps" && settled.evalSteps === null) settled.evalSteps = settled.loggingSteps;

  if (settled.bf16 && settled.fp16) throw new ArgumentError("bf16 and fp16 exclude each other; give one of them.");

  if (settled.groupByLength) {
    if (given.has("train_sampling_strategy") && settled.trainSamplingStrategy !== "group_by_length") {
      throw new ArgumentError(
        `group_by_length contradicts train_sampling_strategy ${settled.trainSamplingStrategy}; give one of them.`,
      );
    }
    settled.trainSamplingStrategy = "group_by_length";
  }

  if (settled.streaming && settled.maxSteps <= 0) {
    throw new ArgumentError(
      "streaming: expected max_steps too, as the number of batches is not known before all rows are read; found none.",
    );
  }
  if (given.has("streaming_window") && !given.has("streaming"))
    notes.push("streaming_window is given without streaming: no effect.");

  if (settled.warmupRatio > 0 && settled.warmupSteps > 0)
    notes.push("warmup_steps is given, so warmup_ratio is not used.");
  for (const [name, value] of [
    ["logging_steps", settled.loggingSteps],
    ["save_steps", settled.saveSteps],
    ["eval_steps", settled.evalSteps],
    ["warmup_steps", settled.warmupSteps],
  ] as const) {
    if (value !== null && value > 1 && !Number.isInteger(value)) {
      throw new ArgumentError(
        `${name}: expected a whole number of steps, or a fraction of all steps below 1; found ${value}.`,
      );
    }
  }

  for (const tracker of settled.trackers) {
    if (tracker === "file_logger" || tracker === "none") continue;
    throw new ArgumentError(
      `trackers: ${tracker} is not built in; expected file_logger or none. A callback can feed any tracker.`,
    );
  }

  if (settled.saveStrategy !== "no" && settled.outputDir === null) {
    throw new ArgumentError("output_dir: not set. Give a folder for checkpoints, or save_strategy no to write none.");
  }
  if (settled.loadBestModelAtEnd || settled.saveStrategy === "best") settleBestModel(settled);
  return { training: settled, notes };
}

/** The rules of load_best_model_at_end: there must be a checkpoint of every evaluated step. */
function settleBestModel(settled: { -readonly [Key in keyof TrainingArguments]: TrainingArguments[Key] }): void {
  const wish = settled.loadBestModelAtEnd ? "load_best_model_at_end" : "save_strategy best";
  if (settled.evalStrategy === "no")
    throw new ArgumentError(`${wish} needs evaluations: set eval_strategy to steps or epoch.`);
  const { saveStrategy, evalStrategy, saveSteps, evalSteps } = settled;
  if (saveStrategy !== "best" && saveStrategy !== evalStrategy) {
    throw new ArgumentError(
      `load_best_model_at_end needs a checkpoint of every evaluated step: save_strategy is ${saveStrategy} and eval_strategy ${evalStrategy}; make them the same, or save_strategy best.`,
    );
  }
  if (saveStrategy === "steps" && evalSteps !== null && (saveSteps / evalSteps) % 1 !== 0) {
    throw new ArgumentError(
      `load_best_model_at_end needs save_steps to be a multiple of eval_steps; found ${saveSteps} and ${evalSteps}.`,
    );
  }
  settled.metricForBestModel ??= "loss";
  settled.greaterIsBetter ??= !settled.metricForBestModel.endsWith("loss");
}
