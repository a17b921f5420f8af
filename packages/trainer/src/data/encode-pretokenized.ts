import { DatasetError, type DataLocation } from "./errors.ts";
import type { EncodedRow } from "./encode-text.ts";
import { IGNORE_INDEX } from "./masking.ts";
import { integerColumn, type Row } from "./row.ts";

/**
 * A row with `input_ids`, perhaps `labels` (the ids where there are none) and `attention_mask`. Padding (mask 0 at either end) is
 * cut off: the collator pads again.
 */
export function encodePretokenized(
  row: Row,
  columns: { readonly labels: boolean; readonly attentionMask: boolean },
  options: { readonly maxLength: number; readonly vocabSize: number },
  where: DataLocation,
): EncodedRow {
  const inputIds = integerColumn(row, "input_ids", where, 0, options.vocabSize);
  const labels = columns.labels ? labelColumn(row, inputIds.length, options.vocabSize, where) : inputIds;
  const [start, end] = columns.attentionMask ? realTokens(row, inputIds.length, where) : [0, inputIds.length];
  const cut = Math.min(end, start + options.maxLength);
  return {
    inputIds: inputIds.subarray(start, cut),
    labels: labels.subarray(start, cut),
    fullLength: end - start,
    missing: [],
    remarks: end - start < inputIds.length ? ["padding-removed"] : [],
  };
}

function labelColumn(row: Row, length: number, vocabSize: number, where: DataLocation): Int32Array {
  const labels = integerColumn(row, "labels", where, IGNORE_INDEX, vocabSize);
  requireLength(labels, length, "labels", where);
  const wrong = labels.findIndex((label) => label < 0 && label !== IGNORE_INDEX);
  if (wrong !== -1) {
    throw new DatasetError(
      `item ${wrong} is not usable`,
      { ...where, column: "labels" },
      { expected: `${IGNORE_INDEX} or a token id`, found: String(labels[wrong]) },
    );
  }
  return labels;
}

/** Where the tokens are that the mask keeps: they must stand together. */
function realTokens(row: Row, length: number, where: DataLocation): [start: number, end: number] {
  const mask = integerColumn(row, "attention_mask", where, 0, 2);
  requireLength(mask, length, "attention_mask", where);
  const start = mask.indexOf(1);
  if (start === -1) return [0, 0];
  const end = mask.lastIndexOf(1) + 1;
  const hole = mask.subarray(start, end).indexOf(0);
  if (hole !== -1) {
    throw new DatasetError(
      "a hole in the mask",
      { ...where, column: "attention_mask" },
      { expected: "0 at the ends only, for padding", found: `0 at item ${start + hole}` },
    );
  }
  return [start, end];
}

function requireLength(values: Int32Array, length: number, column: string, where: DataLocation): void {
  if (values.length === length) return;
  throw new DatasetError(
    "wrong length",
    { ...where, column },
    { expected: `${length} items, as in input_ids`, found: String(values.length) },
  );
}
