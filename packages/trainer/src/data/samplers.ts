import { DatasetError } from "./errors.ts";
import { permutation, permutationInSlices } from "./permutation.ts";

/**
 * In which order the samples of an epoch come. An order depends on nothing but the epoch, so that a run can be resumed anywhere
 * without replaying what was before.
 */
export interface Sampler {
  /** Samples in an epoch. */
  readonly length: number;
  /** Sample numbers of epoch `epoch` (from 0): int32 [length]. */
  order(epoch: number): Int32Array;
  /** The same, yielding now and then: for orders so long that the event loop must get a turn in between. */
  orderInSlices?(epoch: number): Generator<void, Int32Array>;
}

/** 0, 1, 2, … in every epoch. */
export class SequentialSampler implements Sampler {
  readonly length: number;

  constructor(length: number) {
    this.length = requireSamples(length);
  }

  order(): Int32Array {
    return Int32Array.from({ length: this.length }, (_, i) => i);
  }
}

/** Another order in every epoch. */
export class RandomSampler implements Sampler {
  readonly length: number;
  readonly #seed: number;

  constructor(length: number, seed: number) {
    this.length = requireSamples(length);
    this.#seed = seed;
  }

  order(epoch: number): Int32Array {
    return permutation(this.length, this.#seed, epoch);
  }

  orderInSlices(epoch: number): Generator<void, Int32Array> {
    return permutationInSlices(this.length, this.#seed, epoch);
  }
}

/** The same given order in every epoch, for runs that must follow one made elsewhere. */
export class FixedOrderSampler implements Sampler {
  readonly length: number;
  readonly #order: Int32Array;

  /**
   * @param order sample numbers; not every sample must occur, and a sample may occur twice
   * @param samples number of samples of the dataset
   */
  constructor(order: ArrayLike<number>, samples: number) {
    this.length = requireSamples(order.length);
    this.#order = Int32Array.from(order);
    const wrong = this.#order.findIndex((sample, i) => sample !== order[i] || sample < 0 || sample >= samples);
    if (wrong !== -1) {
      const expected = `sample numbers from 0 to ${samples - 1}`;
      throw new DatasetError(`item ${wrong} of the order is not usable`, {}, { expected, found: String(order[wrong]) });
    }
  }

  order(): Int32Array {
    return this.#order.slice();
  }
}

/** Batches in a megabatch, at most. */
const MEGABATCH_BATCHES = 50;

/**
 * Samples of about the same length together, as HF's `LengthGroupedSampler`: the shuffled samples are cut into megabatches of up to
 * 50 batches, and each is sorted by length, longest first. The longest sample of all comes first, so that an epoch that does not fit
 * into memory fails at once.
 */
export class LengthGroupedSampler implements Sampler {
  readonly length: number;
  readonly #lengths: ArrayLike<number>;
  readonly #megabatch: number;
  readonly #seed: number;

  /**
   * @param lengths tokens of every sample
   * @param batchSize samples that should be alike: HF takes those of a whole step (batch × accumulation)
   */
  constructor(lengths: ArrayLike<number>, batchSize: number, seed: number) {
    this.length = requireSamples(lengths.length);
    requireCount("the batch size", batchSize);
    this.#lengths = lengths;
    this.#megabatch =
      batchSize * Math.max(1, Math.min(Math.floor(lengths.length / (batchSize * 4)), MEGABATCH_BATCHES));
    this.#seed = seed;
  }

  order(epoch: number): Int32Array {
    const order = permutation(this.length, this.#seed, epoch);
    let longest = 0;
    for (let start = 0; start < order.length; start += this.#megabatch) {
      // Sorting is stable: equal lengths keep their shuffled order.
      order.subarray(start, start + this.#megabatch).sort((a, b) => this.#lengths[b]! - this.#lengths[a]!);
      if (this.#lengths[order[start]!]! > this.#lengths[order[longest]!]!) longest = start;
    }
    const first = order[0]!;
    order[0] = order[longest]!;
    order[longest] = first;
    return order;
  }
}

/** Throws unless there is a sample. */
function requireSamples(length: number): number {
  if (length > 0) return length;
  throw new DatasetError("no samples", {}, { expected: "at least one" });
}

/** Throws unless `value` is an integer from 1 on. */
export function requireCount(name: string, value: number): number {
  if (Number.isInteger(value) && value >= 1) return value;
  throw new DatasetError(`${name} is not usable`, {}, { expected: "an integer from 1", found: String(value) });
}
