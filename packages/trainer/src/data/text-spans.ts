import { IGNORE_INDEX, type KeySpan } from "./masking.ts";
import type { TextEncoding } from "./tokenizer.ts";

/**
 * Where a key stands in a text, [start, end) in code points. Keys are searched in the text and not among the tokens: how a key is
 * cut into tokens depends on what stands around it (`▁###` at the start of a text, `##` `#` behind a line break).
 */
export function findInText(text: string, key: string, positions: CodePoints): KeySpan[] {
  const found: KeySpan[] = [];
  if (key === "") return found;
  for (let i = text.indexOf(key); i !== -1; i = text.indexOf(key, i + key.length)) {
    found.push([positions.of(i), positions.of(i + key.length)]);
  }
  return found;
}

/** Turns positions in a JavaScript string (UTF-16) into code points, which tokenizers count in. */
export class CodePoints {
  /** Number of code points of the text. */
  readonly length: number;
  /** Position of the second half of every surrogate pair, rising; empty for most texts. */
  readonly #pairs: readonly number[];

  constructor(text: string) {
    const pairs: number[] = [];
    for (const match of text.matchAll(/[\uD800-\uDBFF][\uDC00-\uDFFF]/g)) pairs.push(match.index + 1);
    this.#pairs = pairs;
    this.length = text.length - pairs.length;
  }

  /** Code points before UTF-16 position `index`. */
  of(index: number): number {
    let low = 0;
    let high = this.#pairs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#pairs[middle]! < index) low = middle + 1;
      else high = middle;
    }
    return index - low;
  }
}

/**
 * Labels of a text of which some spans are trained. A token is trained if it covers part of a span, as in HF's assistant masks: the
 * token that merges the end of a question with the start of its answer is trained, and no answer loses its first word. A token that
 * the tokenizer added in front is not trained; one that it added behind (`</s>`) is, if a span reaches the end of the text.
 *
 * @param ids the first tokens of the text, or all of them
 * @param encoding the text in tokens, before it was truncated
 * @param spans rising, in code points
 * @param textLength code points of the text
 */
export function labelsOfSpans(
  ids: Int32Array,
  encoding: TextEncoding,
  spans: readonly KeySpan[],
  textLength: number,
): Int32Array {
  const labels = new Int32Array(ids.length).fill(IGNORE_INDEX);
  const lastOfText = lastTokenOfText(encoding, encoding.offsets.length);
  const trainEnd = spans.at(-1)?.[1] === textLength;
  let span = 0;
  for (let i = 0; i < ids.length; i++) {
    if (isAdded(encoding, i)) {
      if (i > lastOfText && trainEnd) labels[i] = ids[i]!;
      continue;
    }
    const [start, end] = encoding.offsets[i]!;
    // Byte-level tokenizers trim spaces off their offsets: a token of nothing else covers the space before its position.
    const from = start === end ? start - 1 : start;
    while (span < spans.length && spans[span]![1] <= from) span += 1;
    const [spanStart, spanEnd] = spans[span] ?? [Infinity, Infinity];
    if (end > spanStart && from < spanEnd) labels[i] = ids[i]!;
  }
  return labels;
}

/** Code points that the first `count` tokens cover. */
export function coveredLength(encoding: TextEncoding, count: number): number {
  const last = lastTokenOfText(encoding, count);
  return last < 0 ? 0 : encoding.offsets[last]![1];
}

/** Index of the last token before `count` that the tokenizer did not add itself, or −1. */
function lastTokenOfText(encoding: TextEncoding, count: number): number {
  let last = count - 1;
  while (last >= 0 && isAdded(encoding, last)) last -= 1;
  return last;
}

function isAdded(encoding: TextEncoding, token: number): boolean {
  return encoding.specialTokensMask[token] === 1;
}
