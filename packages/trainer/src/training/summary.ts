import { nonZeroCounts } from "./counters.ts";
import type { EvaluationResult } from "./evaluate.ts";
import type { Session } from "./session.ts";
import type { LogEntry, TrainerState } from "./state.ts";

/** The last entry of log_history, by Hugging Face's names. Speeds are of all ranks since the run began or was resumed. */
export function trainingMetrics<Model>(session: Session<Model>, state: TrainerState): LogEntry {
  const seconds = (performance.now() - session.startedAt) / 1000;
  const { losses, counters } = session.loop;
  return {
    train_runtime: seconds,
    train_samples_per_second: session.samples / seconds,
    train_steps_per_second: session.steps / seconds,
    train_tokens_per_second: session.tokens / seconds,
    total_flos: state.totalFlos,
    train_loss: losses.steps === 0 ? 0 : losses.total / losses.steps,
    ...nonZeroCounts(counters),
  };
}

/** An evaluation by Hugging Face's names. A step is a batch on every rank. */
export function evaluationMetrics(result: EvaluationResult, ranks: number): LogEntry {
  return {
    eval_loss: result.loss,
    eval_runtime: result.seconds,
    eval_samples_per_second: result.samples / result.seconds,
    eval_steps_per_second: Math.ceil(result.batches / ranks) / result.seconds,
    ...(result.batchesWithoutTrainableTokens === 0
      ? {}
      : { eval_batches_without_trainable_tokens: result.batchesWithoutTrainableTokens }),
  };
}
