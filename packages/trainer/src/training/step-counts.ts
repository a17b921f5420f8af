import type { Communicator } from "../communicator.ts";
import type { Batch } from "../slots.ts";
import { samplesIn } from "./batch.ts";

/** What the micro-batches of a step hold, over all ranks. */
export interface StepCounts {
  /** Targets of the loss: Hugging Face's num_items_in_batch. */
  readonly trainableTokens: number;
  /** Tokens read, padding not counted. */
  readonly inputTokens: number;
  readonly samples: number;
  /** Positions computed, padding included. */
  readonly positions: number;
  /** Micro-batches without a trainable token. */
  readonly maskedBatches: number;
}

/** Counts a step; collective. */
export async function countStep(batches: readonly Batch[], communicator: Communicator): Promise<StepCounts> {
  const own = (count: (batch: Batch) => number): number => batches.reduce((sum, batch) => sum + count(batch), 0);
  const counts = Float64Array.of(
    own((batch) => batch.trainableTokens),
    own((batch) => batch.tokens),
    own(samplesIn),
    own(({ shape: [rows, width] }) => rows * width),
    // A rank without a share in the last round of an epoch has a batch without rows: nothing of it was masked.
    own((batch) => (batch.trainableTokens === 0 && batch.tokens > 0 ? 1 : 0)),
  );
  await communicator.allReduce(counts, "sum");
  const [trainableTokens, inputTokens, samples, positions, maskedBatches] = counts;
  return {
    trainableTokens: trainableTokens!,
    inputTokens: inputTokens!,
    samples: samples!,
    positions: positions!,
    maskedBatches: maskedBatches!,
  };
}
