import { IntegerSet } from "./integer-set.ts";
import { longestFirst } from "./length-order.ts";
import type { Sliced } from "./sliced.ts";

/**
 * Samples that wait for a bin: by length, and in their given order. What is taken by length comes from the far end of the order, so
 * that what comes in order meets nothing that is gone before its time.
 */
export class SamplePool {
  readonly #order: Int32Array;
  readonly #lengths: ArrayLike<number>;
  readonly #sorted: Int32Array;
  /** By length: which part of `#sorted` is left. */
  readonly #starts: Int32Array;
  readonly #ends: Int32Array;
  readonly #present: IntegerSet;
  #cursor = 0;
  /** Samples and tokens that are left. */
  samples: number;
  tokens = 0;

  /** @param order sample numbers in the order in which `next` gives them */
  static *create(order: Int32Array, lengths: ArrayLike<number>): Sliced<SamplePool> {
    const sorted = yield* longestFirst(order, lengths);
    return new SamplePool(order, lengths, sorted);
  }

  private constructor(order: Int32Array, lengths: ArrayLike<number>, sorted: Int32Array) {
    this.#order = order;
    this.#lengths = lengths;
    this.#sorted = sorted;
    this.samples = order.length;
    const longest = sorted.length === 0 ? 0 : lengths[sorted[0]!]!;
    this.#starts = new Int32Array(longest + 1);
    this.#ends = new Int32Array(longest + 1);
    this.#present = new IntegerSet(longest);
    for (let start = 0; start < sorted.length;) {
      const length = lengths[sorted[start]!]!;
      const end = endOfRun(sorted, lengths, start);
      this.#starts[length] = start;
      this.#ends[length] = end;
      this.#present.add(length);
      this.tokens += (end - start) * length;
      start = end;
    }
  }

  /** Length of the first sample of the order that is left; −1 if none is. */
  nextLength(): number {
    for (; this.#cursor < this.#order.length; this.#cursor++) {
      const length = this.#lengths[this.#order[this.#cursor]!]!;
      if (this.#sorted[this.#starts[length]!] === this.#order[this.#cursor] && this.count(length) > 0) return length;
    }
    return -1;
  }

  /** Takes the first sample of the order that is left, of which `nextLength` has just told the length. */
  takeNext(): number {
    const sample = this.#order[this.#cursor++]!;
    const length = this.#lengths[sample]!;
    this.#starts[length]!++;
    this.#remove(length);
    return sample;
  }

  /** Takes a sample of this length, of which there must be one. */
  take(length: number): number {
    const end = --this.#ends[length]!;
    this.#remove(length);
    return this.#sorted[end]!;
  }

  /** How many samples of a length are left. */
  count(length: number): number {
    return this.#ends[length]! - this.#starts[length]!;
  }

  /** The largest length up to `most` that is left; −1 if there is none. */
  longest(most: number): number {
    return this.#present.previous(Math.min(most, this.#starts.length - 1));
  }

  #remove(length: number): void {
    this.samples--;
    this.tokens -= length;
    if (this.count(length) === 0) this.#present.delete(length);
  }
}

/** End of the samples that are as long as the one at `start`; the list is sorted, so it is found by doubling and halving. */
function endOfRun(sorted: Int32Array, lengths: ArrayLike<number>, start: number): number {
  const length = lengths[sorted[start]!]!;
  const belongs = (at: number): boolean => at < sorted.length && lengths[sorted[at]!] === length;
  let step = 1;
  while (belongs(start + step)) step *= 2;
  let low = start + (step >> 1);
  let high = Math.min(start + step, sorted.length);
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (belongs(middle)) low = middle;
    else high = middle;
  }
  return high;
}
