import { textAt, type Place } from "./place.ts";

/** Node of the trie: Darts' unit of 32 bits. */
function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}

/**
 * Checks SentencePiece's precompiled character map: base64 of a length, a double-array trie and the replacements, ended by zero
 * bytes. The library follows the trie without looking at its bounds.
 */
export function checkCharsmap(value: unknown, place: Place): void {
  const encoded = textAt(value, place);
  const bytes = Buffer.from(encoded, "base64");
  if (bytes.length < 4 || bytes.toString("base64").replace(/=+$/, "") !== encoded.replace(/=+$/, "")) {
    place.fail("the character map is not base64 of at least four bytes");
  }
  const trieBytes = bytes.readUInt32LE(0);
  if (trieBytes === 0 || trieBytes % 4 !== 0 || 4 + trieBytes > bytes.length) {
    place.fail(
      `the character map holds ${bytes.length} bytes, too few for the trie of ${trieBytes} bytes that it announces`,
    );
  }
  const replacements = bytes.subarray(4 + trieBytes);
  const text = new TextDecoder("utf-8", { fatal: true });
  try {
    text.decode(replacements);
  } catch {
    place.fail("the replacements of the character map are not UTF-8");
  }
  checkTrie(bytes.subarray(4, 4 + trieBytes), replacements, place);
}

function checkTrie(trie: Buffer, replacements: Buffer, place: Place): void {
  const nodes = trie.length / 4;
  for (let index = 0; index < nodes; index++) {
    const unit = trie.readUInt32LE(index * 4);
    if (unit >>> 31 === 1 && index !== 0) {
      continue; // a leaf holds a position, which is checked at its parent; the root is always entered
    }
    // From a node the library reads any of 256 neighbours before it compares labels.
    const base = index ^ offsetOf(unit);
    if ((base | 0xff) >= nodes) {
      place.fail(`node ${index} of the character map's trie points outside of its ${nodes} nodes`);
    }
    if ((unit >>> 8) & 1) {
      const position = trie.readUInt32LE(base * 4) & 0x7fff_ffff;
      const startsCharacter = position < replacements.length && ((replacements[position] ?? 0) & 0xc0) !== 0x80;
      if (!startsCharacter && position !== replacements.length) {
        place.fail(
          `a leaf of the character map's trie points to byte ${position} of ${replacements.length}, which starts no character`,
        );
      }
    }
  }
}
