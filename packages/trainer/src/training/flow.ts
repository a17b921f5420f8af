import type { TrainingArguments } from "../arguments/groups.ts";
import { TrainingError } from "../errors.ts";
import type { TrainerCallback } from "./callbacks.ts";
import type { TrainerControl, TrainerState } from "./state.ts";

/** Decides after each step and epoch whether to log, evaluate, save and stop; Hugging Face's DefaultFlowCallback. */
export const defaultFlow: TrainerCallback = {
  onStepBegin({ control }) {
    control.shouldLog = false;
    control.shouldEvaluate = false;
    control.shouldSave = false;
  },

  onStepEnd({ args, state, control }) {
    const { globalStep } = state;
    if (globalStep === 1 && args.loggingFirstStep) control.shouldLog = true;
    if (args.loggingStrategy === "steps" && globalStep % state.loggingSteps === 0) control.shouldLog = true;
    if (args.evalStrategy === "steps" && globalStep % state.evalSteps === 0 && args.evalDelay <= globalStep)
      control.shouldEvaluate = true;
    if (args.saveStrategy === "steps" && globalStep % state.saveSteps === 0) control.shouldSave = true;
    if (globalStep >= state.maxSteps) {
      control.shouldTrainingStop = true;
      // The last step is worth a checkpoint wherever it falls.
      if (args.saveStrategy === "steps") control.shouldSave = true;
    }
  },

  onEpochEnd({ args, state, control }) {
    if (args.loggingStrategy === "epoch") control.shouldLog = true;
    if (args.evalStrategy === "epoch" && args.evalDelay <= state.epoch) control.shouldEvaluate = true;
    if (args.saveStrategy === "epoch") control.shouldSave = true;
  },
};

/** A number of steps, or a fraction of all of them, as a number of steps; at least 1. */
export function resolveStepInterval(steps: number, maxSteps: number): number {
  return steps < 1 ? Math.max(1, Math.ceil(maxSteps * steps)) : steps;
}

/** Notes a finished evaluation: whether it is the best so far. Hugging Face's rule: strictly better. */
export function noteMetric(
  args: TrainingArguments,
  state: TrainerState,
  control: TrainerControl,
  metrics: Readonly<Record<string, number | string>>,
): void {
  if (args.metricForBestModel === null) return;
  const name = args.metricForBestModel.startsWith("eval_")
    ? args.metricForBestModel
    : `eval_${args.metricForBestModel}`;
  const value = metrics[name];
  if (typeof value !== "number") {
    throw new TrainingError(
      `metric_for_best_model: the evaluation gave no ${name}; expected one of ${Object.keys(metrics).join(", ")}.`,
    );
  }
  const better =
    state.bestMetric === null || (args.greaterIsBetter === true ? value > state.bestMetric : value < state.bestMetric);
  if (!better) return;
  state.bestMetric = value;
  state.bestGlobalStep = state.globalStep;
  if (args.saveStrategy === "best") control.shouldSave = true;
}
