import type { LoopCounters } from "../checkpoint/loop-state.ts";

/** One sentence for each thing that was passed over, with its number; none when nothing was. */
export function describeCounters(counters: LoopCounters, skippedByScaler: number): string[] {
  const sentences: readonly (readonly [count: number, one: string, many: string])[] = [
    [
      counters.batchesWithoutTrainableTokens,
      "micro-batch had no trainable token and added nothing.",
      "micro-batches had no trainable token and added nothing.",
    ],
    [
      counters.stepsWithoutTrainableTokens,
      "step had no trainable token at all and left the weights as they were.",
      "steps had no trainable token at all and left the weights as they were.",
    ],
    [
      counters.stepsNotFinite,
      "step was left out because its loss or gradient was not finite.",
      "steps were left out because their loss or gradient was not finite.",
    ],
    [
      skippedByScaler,
      "step was left out by the loss scaler (float16 overflow).",
      "steps were left out by the loss scaler (float16 overflow).",
    ],
  ];
  return sentences.flatMap(([count, one, many]) => (count === 0 ? [] : [`${count} ${count === 1 ? one : many}`]));
}

/** The same for log_history: only what happened. */
export function nonZeroCounts(counters: LoopCounters): Record<string, number> {
  const entries = {
    batches_without_trainable_tokens: counters.batchesWithoutTrainableTokens,
    steps_without_trainable_tokens: counters.stepsWithoutTrainableTokens,
    steps_not_finite: counters.stepsNotFinite,
  };
  return Object.fromEntries(Object.entries(entries).filter(([, count]) => count > 0));
}
