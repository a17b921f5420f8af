/** Where the sequences of a batch are, once padding is taken out: what variable-length attention is told. */
export interface UnpaddedSequences {
  /** Flat positions of tokens, row by row: int32 [tokens]. */
  readonly indices: Int32Array;
  /** Where each sequence begins among them, and where the last one ends: int32 [sequences + 1]. */
  readonly cuSeqlens: Int32Array;
  /** Tokens of the longest sequence. */
  readonly maxSeqlen: number;
}

/**
 * The sequences of an attention mask that numbers them from 1 in every row, with 0 on padding; functionary's `get_unpad_data`.
 *
 * @param mask int32 [rows, width] in row-major order
 * @param width tokens of a row
 */
export function unpadSequences(mask: ArrayLike<number>, width: number): UnpaddedSequences {
  const indices: number[] = [];
  const starts: number[] = [];
  for (let at = 0; at < mask.length; at++) {
    if (mask[at] === 0) continue;
    const isFirst = at % width === 0 || mask[at - 1] !== mask[at];
    if (isFirst) starts.push(indices.length);
    indices.push(at);
  }
  const cuSeqlens = Int32Array.from([...starts, indices.length]);
  let maxSeqlen = 0;
  for (let i = 0; i < starts.length; i++) maxSeqlen = Math.max(maxSeqlen, cuSeqlens[i + 1]! - cuSeqlens[i]!);
  return { indices: Int32Array.from(indices), cuSeqlens, maxSeqlen };
}

/**
 * A block of rows of the attention mask of one packed row: 1 where a query may see a key, that is a key of its own sequence and not after
 * it. The mask of a whole row is width × width; attention asks for as many queries as it works on.
 *
 * @param segments number of the sequence of every token, 0 on padding: [width]
 * @param first first query
 * @param end query behind the last one
 * @returns uint8 [end − first, width] in row-major order
 */
export function blockCausalMask(segments: ArrayLike<number>, first = 0, end: number = segments.length): Uint8Array {
  const width = segments.length;
  const mask = new Uint8Array((end - first) * width);
  for (let query = first; query < end; query++) {
    if (segments[query] === 0) continue;
    for (let key = query; key >= 0 && segments[key] === segments[query]; key--) mask[(query - first) * width + key] = 1;
  }
  return mask;
}
