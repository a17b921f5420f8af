// Trains a byte-level BPE vocabulary (Sennrich et al. 2016, on GPT-2's byte alphabet) on a small text.
// The `tokenizers` bindings for Node.js encode, but expose no trainer that takes a vocabulary size.

/** GPT-2's split of a text into words, each with its leading blank. */
export const WORD_PATTERN = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

function isPrintable(byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

/** GPT-2's printable stand-in for each of the 256 bytes. */
export function byteAlphabet() {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPrintable(byte) ? byte : next++));
}

/**
 * @param {string[]} texts what to learn from
 * @param {number} mergeCount at most this many merges; fewer if no pair occurs twice any more
 * @returns {[string, string][]} merges, best first; ties go to the pair that sorts first, so the result is deterministic
 */
export function trainMerges(texts, mergeCount) {
  const alphabet = byteAlphabet();
  const counts = new Map();
  for (const text of texts) {
    for (const [word] of text.matchAll(WORD_PATTERN)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const words = [...counts].map(([word, count]) => ({
    count,
    pieces: [...Buffer.from(word, "utf8")].map((byte) => alphabet[byte]),
  }));
  const merges = [];
  while (merges.length < mergeCount) {
    const pairs = new Map();
    for (const { count, pieces } of words) {
      for (let at = 0; at + 1 < pieces.length; at++) {
        const pair = `${pieces[at]} ${pieces[at + 1]}`;
        pairs.set(pair, (pairs.get(pair) ?? 0) + count);
      }
    }
    let best;
    for (const [pair, count] of pairs) {
      if (best === undefined || count > best.count || (count === best.count && pair < best.pair))
        best = { pair, count };
    }
    if (best === undefined || best.count < 2) break;
    const [left, right] = best.pair.split(" ");
    merges.push([left, right]);
    for (const word of words) word.pieces = joinPair(word.pieces, left, right);
  }
  return merges;
}

function joinPair(pieces, left, right) {
  const joined = [];
  for (let at = 0; at < pieces.length; at++) {
    if (pieces[at] === left && pieces[at + 1] === right) {
      joined.push(left + right);
      at++;
    } else joined.push(pieces[at]);
  }
  return joined;
}
