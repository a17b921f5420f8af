import { countTrainable, DatasetError, IGNORE_INDEX, type Batch, type Sample } from "@fms-accel/trainer";

export interface PackedRowsOptions {
  /** Fills `inputIds` behind the samples; the mask hides it. */
  readonly padTokenId: number;
  /** A fixed width instead of that of the fullest row. */
  readonly width?: number | undefined;
}

/**
 * A true batch of rows that each hold several samples: what a 4-D attention mask is for. No mask is made: `sequenceIds` number the samples
 * of a row from 1, with 0 on padding, and attention compares them a block of queries at a time. Positions begin anew with every sample,
 * and its first label is no target, as nothing of its own stands before it.
 *
 * @param rows samples of every row
 * @throws DatasetError on no rows, an empty row or sample, or a row wider than `width`
 */
export function collatePackedRows(rows: readonly (readonly Sample[])[], options: PackedRowsOptions): Batch {
  const width = widthOf(rows, options.width);
  const size = rows.length * width;
  const inputIds = new Int32Array(size).fill(options.padTokenId);
  const labels = new Int32Array(size).fill(IGNORE_INDEX);
  const attentionMask = new Int32Array(size);
  const positionIds = new Int32Array(size);
  const sequenceIds = new Int32Array(size);
  let tokens = 0;
  let trainableTokens = 0;
  for (const [row, samples] of rows.entries()) {
    let at = row * width;
    for (const [index, sample] of samples.entries()) {
      const { length } = sample.inputIds;
      inputIds.set(sample.inputIds, at);
      labels.set(sample.labels, at);
      labels[at] = IGNORE_INDEX;
      attentionMask.fill(1, at, at + length);
      sequenceIds.fill(index + 1, at, at + length);
      for (let t = 0; t < length; t++) positionIds[at + t] = t;
      trainableTokens += countTrainable(sample.labels);
      at += length;
      tokens += length;
    }
  }
  return {
    shape: [rows.length, width],
    inputIds,
    labels,
    attentionMask,
    positionIds,
    sequenceIds,
    samples: rows.reduce((sum, samples) => sum + samples.length, 0),
    tokens,
    trainableTokens,
  };
}

function widthOf(rows: readonly (readonly Sample[])[], width: number | undefined): number {
  if (rows.length === 0) throw new DatasetError("no rows to put into a batch");
  let widest = 0;
  for (const samples of rows) {
    if (samples.length === 0) throw new DatasetError("a row without samples cannot be put into a batch");
    let sum = 0;
    for (const { inputIds, labels } of samples) {
      if (inputIds.length === 0) throw new DatasetError("an empty sample cannot be put into a batch");
      if (labels.length !== inputIds.length) {
        const expected = `${inputIds.length} labels`;
        throw new DatasetError("a sample's labels do not fit its ids", {}, { expected, found: String(labels.length) });
      }
      sum += inputIds.length;
    }
    widest = Math.max(widest, sum);
  }
  if (width !== undefined && widest > width) {
    throw new DatasetError(
      "a row is wider than its batch",
      {},
      { expected: `at most ${width}`, found: String(widest) },
    );
  }
  return width ?? widest;
}
