import { type Batch, countTrainable, DatasetError, IGNORE_INDEX, type Sample } from "@fms-accel/trainer";

export interface FlattenOptions {
  /** Label in place of the first one of each sample, which nothing of the sample itself predicts. */
  readonly separatorId?: number;
  /** Position of each sample's first token. */
  readonly positionIdsStart?: number;
}

/** Samples one behind the other in a single row, with where each begins. */
export interface FlattenedBatch extends Batch {
  readonly positionIds: Int32Array;
  /** Number of each token's sample, from 0. */
  readonly sequenceIds: Int32Array;
  /** int32 [samples + 1]: sample s owns the tokens [cuSeqlens[s], cuSeqlens[s + 1]). */
  readonly cuSeqlens: Int32Array;
  /** Tokens of the longest sample. */
  readonly maxLength: number;
}

/**
 * A batch without padding: what `DataCollatorWithFlattening` of Transformers makes. Positions start again in every sample, and no token is
 * trained to follow from another sample.
 *
 * @throws DatasetError on no samples, an empty one, or one whose labels do not fit its ids
 */
export function flattenSamples(samples: readonly Sample[], options: FlattenOptions = {}): FlattenedBatch {
  const { separatorId = IGNORE_INDEX, positionIdsStart = 0 } = options;
  const cuSeqlens = cumulativeLengths(samples);
  const total = cuSeqlens[samples.length]!;
  const inputIds = new Int32Array(total);
  const labels = new Int32Array(total);
  const positionIds = new Int32Array(total);
  const sequenceIds = new Int32Array(total);
  let trainableTokens = 0;
  let maxLength = 0;
  for (const [number, sample] of samples.entries()) {
    const start = cuSeqlens[number]!;
    const { length } = sample.inputIds;
    inputIds.set(sample.inputIds, start);
    labels.set(sample.labels, start);
    labels[start] = separatorId;
    for (let t = 0; t < length; t++) positionIds[start + t] = positionIdsStart + t;
    sequenceIds.fill(number, start, start + length);
    trainableTokens += countTrainable(sample.labels);
    maxLength = Math.max(maxLength, length);
  }
  return {
    shape: [1, total],
    inputIds,
    labels,
    positionIds,
    sequenceIds,
    cuSeqlens,
    maxLength,
    samples: samples.length,
    tokens: total,
    trainableTokens,
  };
}

function cumulativeLengths(samples: readonly Sample[]): Int32Array {
  if (samples.length === 0) throw new DatasetError("no samples to put into a batch");
  const bounds = new Int32Array(samples.length + 1);
  for (const [number, { inputIds, labels }] of samples.entries()) {
    if (inputIds.length === 0) throw new DatasetError("an empty sample cannot be put into a batch");
    if (labels.length !== inputIds.length) {
      const expected = `${inputIds.length} labels`;
      throw new DatasetError("a sample's labels do not fit its ids", {}, { expected, found: String(labels.length) });
    }
    bounds[number + 1] = bounds[number]! + inputIds.length;
  }
  return bounds;
}
