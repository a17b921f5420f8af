import { DatasetError, type Batch, type Collator, type Sample } from "@fms-accel/trainer";
import type { BinMeasure } from "../packing/epoch-plan.ts";
import { collatePackedRows } from "./packed-rows.ts";

/** What a rank without a share in the last step gets: it computes nothing and takes part in what the ranks do together. */
const NO_BATCH: Batch = {
  shape: [0, 0],
  inputIds: new Int32Array(),
  labels: new Int32Array(),
  samples: 0,
  tokens: 0,
  trainableTokens: 0,
};

/** How a packed batch becomes one: samples side by side or flattened by a collator, or rows with several samples each. */
export type BatchLayout =
  | { readonly kind: "samples"; readonly collate: Collator }
  | { readonly kind: "rows"; readonly padTokenId: number };

/** What batches are made with. */
export interface LayoutParts {
  /** Makes a batch of samples, unless rows are asked for. */
  readonly collator: Collator;
  /** Whether that batch is without padding. */
  readonly isPaddingFree: boolean;
  readonly padTokenId: number;
}

/**
 * The layout of batches, how room in them is measured, and what it is called.
 *
 * @param rows of a batch that hold several samples each
 * @throws DatasetError for rows of batches without padding
 */
export function chooseLayout(
  rows: number | undefined,
  { collator, isPaddingFree, padTokenId }: LayoutParts,
): { readonly layout: BatchLayout; readonly measure: BinMeasure; readonly shape: string } {
  if (rows === undefined) {
    const layout: BatchLayout = { kind: "samples", collate: collator };
    return isPaddingFree
      ? { layout, measure: "tokens", shape: "padding-free" }
      : { layout, measure: "padded", shape: "padded" };
  }
  if (isPaddingFree) {
    const expected = "rows, or padding-free batches, which are one row";
    throw new DatasetError("multipack settings contradict each other", {}, { expected, found: "both" });
  }
  return { layout: { kind: "rows", padTokenId }, measure: "tokens", shape: `${rows} packed rows` };
}

/** @param rows samples of every row; none for a rank that has no share in a step */
export function layOutBatch(rows: readonly (readonly Sample[])[], layout: BatchLayout): Batch {
  if (rows.length === 0) return NO_BATCH;
  if (layout.kind === "rows") return collatePackedRows(rows, layout);
  const samples = rows.flat();
  return { samples: samples.length, ...layout.collate(samples) };
}
