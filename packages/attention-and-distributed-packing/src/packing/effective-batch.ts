import { DatasetError } from "@fms-accel/trainer";

export interface EffectiveBatch {
  /** Samples of an optimiser step over all ranks. */
  readonly batchSize: number;
  readonly ranks: number;
  /** Mean tokens of a sample. */
  readonly meanLength: number;
  /** Tokens of a micro-batch that a rank has memory for. */
  readonly mostTokens: number;
}

/**
 * Capacity and gradient accumulation with which a packed optimiser step holds so many samples on average: as few micro-batches as memory allows
 * (fms-acceleration's helper for batches without padding).
 *
 * @throws DatasetError where not even one token of each micro-batch would be left
 */
export function packingForBatch({ batchSize, ranks, meanLength, mostTokens }: EffectiveBatch): {
  readonly capacity: number;
  readonly accumulationSteps: number;
} {
  const tokens = (batchSize * meanLength) / ranks;
  const accumulationSteps = Math.max(1, Math.ceil(tokens / mostTokens));
  const capacity = Math.floor(tokens / accumulationSteps);
  if (!(capacity >= 1) || !Number.isFinite(capacity)) {
    const found = `${batchSize} samples of ${meanLength} tokens on ${ranks} ranks, at most ${mostTokens} tokens each`;
    throw new DatasetError("no packing for this batch", {}, { expected: "at least one token a micro-batch", found });
  }
  return { capacity, accumulationSteps };
}
