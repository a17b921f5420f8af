import type { Encoding } from "./encoding.ts";
import type { Span } from "./jinja/index.ts";

/**
 * 1 for tokens of generated text, 0 for others. As in Transformers, a span reaches from the token of its first character to the
 * token of its last one, taking the first of several tokens that share a character.
 *
 * Where a character at a border belongs to no token (byte-level tokenizers leave spaces out of the offsets) the nearest token
 * inside the span takes its place, and an empty span marks nothing. Transformers gives up on all later spans in the one case,
 * and marks the rest of the text, other turns included, in the other.
 */
export function assistantMask(encoding: Encoding, spans: readonly Span[]): number[] {
  const mask = Array.from({ length: encoding.length }, () => 0);
  const offsets = encoding.offsets;
  for (const span of spans) {
    const [start, end] = span;
    if (end > start) {
      const first = encoding.charToToken(start) ?? offsets.findIndex((offset) => isInside(offset, span));
      const last = encoding.charToToken(end - 1) ?? offsets.findLastIndex((offset) => isInside(offset, span));
      if (first !== -1 && last !== -1) {
        mask.fill(1, first, last + 1);
      }
    }
  }
  return mask;
}

function isInside(offset: readonly [number, number], span: Span): boolean {
  return offset[0] >= span[0] && offset[1] <= span[1];
}
