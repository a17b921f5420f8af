import { DatasetError } from "./errors.ts";
import { countTrainable, IGNORE_INDEX } from "./masking.ts";
import type { Sample } from "./token-store.ts";

export interface CollatorOptions {
  /** Fills `inputIds`; where a tokenizer has none, any id does: the mask hides it. */
  readonly padTokenId: number;
  /** Where padding goes. */
  readonly paddingSide?: "right" | "left" | undefined;
  /** Rounds the width up. */
  readonly padToMultipleOf?: number | undefined;
  /** A fixed width instead of that of the longest sample. */
  readonly padToWidth?: number | undefined;
  /** Fills `labels`. */
  readonly labelPadTokenId?: number | undefined;
}

/** Samples side by side: int32 [rows, width] in row-major order, padded. */
export interface Batch {
  readonly inputIds: Int32Array;
  /** 1 for tokens, 0 for padding. */
  readonly attentionMask: Int32Array;
  readonly labels: Int32Array;
  readonly shape: readonly [rows: number, width: number];
  /** Tokens without padding. */
  readonly tokens: number;
  readonly paddingTokens: number;
  /** Labels that count in the loss: `labels[:, 1:] != -100`. */
  readonly trainableTokens: number;
}

/**
 * Pads samples to the longest of them. Padding is known by position, never by its id: a real end-of-sequence token keeps its label
 * even if padding has the same id.
 *
 * @throws DatasetError on no samples, an empty one, one whose labels do not fit its ids, or one wider than `padToWidth`
 */
export function collate(samples: readonly Sample[], options: CollatorOptions): Batch {
  const { padTokenId, paddingSide = "right", labelPadTokenId = IGNORE_INDEX } = options;
  const width = widthOf(samples, options);
  const rows = samples.length;
  const inputIds = new Int32Array(rows * width).fill(padTokenId);
  const labels = new Int32Array(rows * width).fill(labelPadTokenId);
  const attentionMask = new Int32Array(rows * width);
  let tokens = 0;
  let trainableTokens = 0;
  for (const [row, sample] of samples.entries()) {
    const { length } = sample.inputIds;
    const start = row * width + (paddingSide === "left" ? width - length : 0);
    inputIds.set(sample.inputIds, start);
    labels.set(sample.labels, start);
    attentionMask.fill(1, start, start + length);
    tokens += length;
    trainableTokens += countTrainable(sample.labels);
    // Behind padding on the left, a sample's first label has a column before it that would predict it.
    if (start > row * width) labels[start] = labelPadTokenId;
  }
  return {
    inputIds,
    attentionMask,
    labels,
    shape: [rows, width],
    tokens,
    paddingTokens: rows * width - tokens,
    trainableTokens,
  };
}

function widthOf(samples: readonly Sample[], options: CollatorOptions): number {
  if (samples.length === 0) throw new DatasetError("no samples to put into a batch");
  let longest = 0;
  for (const { inputIds, labels } of samples) {
    if (inputIds.length === 0) throw new DatasetError("an empty sample cannot be put into a batch");
    if (labels.length !== inputIds.length) {
      const expected = `${inputIds.length} labels`;
      throw new DatasetError("a sample's labels do not fit its ids", {}, { expected, found: String(labels.length) });
    }
    longest = Math.max(longest, inputIds.length);
  }
  const { padToWidth, padToMultipleOf = 1 } = options;
  if (padToWidth !== undefined && padToWidth < longest) {
    throw new DatasetError(
      "a sample is wider than its batch",
      {},
      {
        expected: `at most ${padToWidth} tokens`,
        found: String(longest),
      },
    );
  }
  return Math.ceil((padToWidth ?? longest) / padToMultipleOf) * padToMultipleOf;
}
