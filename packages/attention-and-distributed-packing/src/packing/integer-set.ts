/**
 * A set of integers from 0 to `largest` that finds neighbours in a few word operations: a tree of 32-bit words, where a bit of a level
 * says whether the word below it has a bit.
 */
export class IntegerSet {
  readonly #levels: Int32Array[] = [];

  constructor(largest: number) {
    let bits = largest + 1;
    do {
      bits = Math.ceil(bits / 32);
      this.#levels.push(new Int32Array(bits));
    } while (bits > 1);
  }

  add(value: number): void {
    let at = value;
    for (const words of this.#levels) {
      const before = words[at >>> 5]!;
      words[at >>> 5] = before | (1 << (at & 31));
      if (before !== 0) return;
      at >>>= 5;
    }
  }

  delete(value: number): void {
    let at = value;
    for (const words of this.#levels) {
      const left = words[at >>> 5]! & ~(1 << (at & 31));
      words[at >>> 5] = left;
      if (left !== 0) return;
      at >>>= 5;
    }
  }

  /** The smallest member from `least` on; −1 if there is none. */
  next(least: number): number {
    let at = least;
    for (let level = 0; level < this.#levels.length; level++) {
      const words = this.#levels[level]!;
      const word = at >>> 5;
      if (word >= words.length) return -1;
      const found = words[word]! & (-1 << (at & 31));
      if (found !== 0) return this.#descend(level, (word << 5) | lowestBit(found), lowestBit);
      // Nothing in this word: the words after it, one level up.
      at = word + 1;
    }
    return -1;
  }

  /** The largest member up to `most`; −1 if there is none. */
  previous(most: number): number {
    let at = most;
    for (let level = 0; level < this.#levels.length && at >= 0; level++) {
      const word = at >>> 5;
      const found = this.#levels[level]![word]! & (-1 >>> (31 - (at & 31)));
      if (found !== 0) return this.#descend(level, (word << 5) | highestBit(found), highestBit);
      at = word - 1;
    }
    return -1;
  }

  #descend(level: number, bit: number, pick: (word: number) => number): number {
    let at = bit;
    for (let below = level - 1; below >= 0; below--) at = (at << 5) | pick(this.#levels[below]![at]!);
    return at;
  }
}

function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}

function highestBit(word: number): number {
  return 31 - Math.clz32(word);
}
