import { IntegerSet } from "./integer-set.ts";
import { listsByBin, type SampleLists } from "./sample-lists.ts";
import { SLICE_ITEMS, type Sliced } from "./sliced.ts";

/**
 * Best fit: every sample goes into the bin with the least sufficient room, else into a new one; of bins with equal room, into the one
 * that got to it first. On samples sorted longest first this is best-fit decreasing, TRL's `bfd` strategy.
 *
 * @param order sample numbers in the order of placing; none longer than `capacity`
 * @param lengths tokens by sample number
 * @param capacity tokens of a bin
 */
export function* bestFit(order: Int32Array, lengths: ArrayLike<number>, capacity: number): Sliced<SampleLists> {
  const binOf = new Int32Array(order.length);
  const open = new OpenBins(capacity, order.length);
  let count = 0;
  for (let i = 0; i < order.length; i++) {
    const length = lengths[order[i]!]!;
    const room = open.leastRoom(length);
    const bin = room === -1 ? count++ : open.take(room);
    open.put(bin, (room === -1 ? capacity : room) - length);
    binOf[i] = bin;
    if (i % SLICE_ITEMS === 0) yield;
  }
  return yield* listsByBin(order, binOf, count);
}

/** Bins by the room they have left; those of equal room stand in a queue. */
class OpenBins {
  readonly #rooms: IntegerSet;
  /** By room: the ends of the queue, −1 for none. */
  readonly #first: Int32Array;
  readonly #last: Int32Array;
  /** By bin: the one behind it in the queue. */
  readonly #next: Int32Array;

  constructor(capacity: number, bins: number) {
    this.#rooms = new IntegerSet(capacity);
    this.#first = new Int32Array(capacity + 1).fill(-1);
    this.#last = new Int32Array(capacity + 1).fill(-1);
    this.#next = new Int32Array(bins);
  }

  /** The smallest room from `length` on; −1 if no bin has as much. */
  leastRoom(length: number): number {
    return this.#rooms.next(length);
  }

  put(bin: number, room: number): void {
    this.#next[bin] = -1;
    const last = this.#last[room]!;
    this.#last[room] = bin;
    if (last === -1) {
      this.#first[room] = bin;
      this.#rooms.add(room);
    } else this.#next[last] = bin;
  }

  /** Takes a bin out that has just this room. */
  take(room: number): number {
    const bin = this.#first[room]!;
    const next = this.#next[bin]!;
    this.#first[room] = next;
    if (next === -1) {
      this.#last[room] = -1;
      this.#rooms.delete(room);
    }
    return bin;
  }
}
