import {
  DatasetError,
  longSamplePolicies,
  type LongSamplePolicy,
  type Sample,
  type SampleSource,
} from "@fms-accel/trainer";
import { counted, grouped } from "./counting.ts";

/** What became of samples that are longer than a batch may be. */
export interface LongSampleReport {
  readonly policy: LongSamplePolicy;
  readonly capacity: number;
  /** Samples that were too long. */
  readonly long: number;
  /** The first of them: at most eight sample numbers. */
  readonly firstSamples: readonly number[];
  /** Tokens that no batch will hold. */
  readonly lostTokens: number;
  /** Pieces that the long samples were split into. */
  readonly pieces: number;
}

const FIRST_SAMPLES = 8;

/**
 * Samples of which none is longer than a batch may be: what is longer is refused, cut, split or left out, and counted. A piece of a split sample
 * keeps its labels, but its first token is no target any more, as nothing stands before it.
 */
export class FittedSamples implements SampleSource {
  /** Number of samples, pieces counted one by one. */
  readonly length: number;
  /** Tokens of each: int32 [length]. */
  readonly lengths: Int32Array;
  readonly report: LongSampleReport;
  readonly #source: SampleSource;
  /** By number: the sample of the source, and its first token; absent where nothing was too long. */
  readonly #places: { readonly samples: Int32Array; readonly starts: Int32Array } | undefined;

  /**
   * @param lengths tokens of every sample of the source
   * @param capacity tokens that a sample may have
   * @throws DatasetError with the policy `error` when a sample is too long, when no sample is left, and for other policies or capacities
   */
  constructor(source: SampleSource, lengths: Int32Array, capacity: number, policy: LongSamplePolicy) {
    if (!longSamplePolicies.includes(policy)) {
      const problem = { expected: longSamplePolicies.join(", "), found: policy };
      throw new DatasetError("long_samples is not usable", {}, problem);
    }
    if (!Number.isInteger(capacity) || capacity < 1) {
      const problem = { expected: "a whole number of tokens from 1", found: String(capacity) };
      throw new DatasetError("the capacity of a batch is not usable", {}, problem);
    }
    this.#source = source;
    const long = longSamples(lengths, capacity);
    if (long.count > 0 && policy === "error") throw tooLong(long, lengths, capacity);
    const fitted = long.count === 0 ? undefined : fit(lengths, capacity, policy);
    this.#places = fitted;
    this.lengths = fitted?.lengths ?? lengths;
    this.length = this.lengths.length;
    this.report = {
      policy,
      capacity,
      long: long.count,
      firstSamples: long.first,
      lostTokens: fitted?.lostTokens ?? 0,
      pieces: policy === "split" ? long.count + this.length - lengths.length : 0,
    };
    if (this.length === 0) {
      const expected = `samples of at most ${capacity} tokens`;
      throw new DatasetError("no samples are left", {}, { expected, found: `${long.count} longer ones, all dropped` });
    }
  }

  sample(index: number): Sample {
    const places = this.#places;
    if (places === undefined) return this.#source.sample(index);
    const whole = this.#source.sample(places.samples[index]!);
    const start = places.starts[index]!;
    const end = start + this.lengths[index]!;
    if (start === 0 && end === whole.inputIds.length) return whole;
    return { inputIds: whole.inputIds.subarray(start, end), labels: whole.labels.subarray(start, end) };
  }

  /** The sample of the source that sample `index` is, or is a piece of. */
  sourceSample(index: number): number {
    return this.#places === undefined ? index : this.#places.samples[index]!;
  }
}

/** What a user should see of long samples; `undefined` when there were none. */
export function describeLongSamples(report: LongSampleReport): string | undefined {
  const { policy, capacity, long, firstSamples, lostTokens, pieces } = report;
  if (long === 0) return undefined;
  const which = `${counted(long, "sample")} longer than ${grouped(capacity)} tokens`;
  const more = long > firstSamples.length ? ", …" : "";
  const done = {
    error: "refused",
    truncate: `truncated (${counted(lostTokens, "token")} cut off)`,
    split: `split into ${counted(pieces, "piece")}`,
    drop: `dropped (${counted(lostTokens, "token")})`,
  }[policy];
  return `${which}: ${done}; samples ${firstSamples.join(", ")}${more}.`;
}

interface LongSamples {
  readonly count: number;
  readonly longest: number;
  readonly first: readonly number[];
}

function longSamples(lengths: Int32Array, capacity: number): LongSamples {
  let count = 0;
  let longest = 0;
  const first: number[] = [];
  for (let sample = 0; sample < lengths.length; sample++) {
    const length = lengths[sample]!;
    if (length <= capacity) continue;
    longest = Math.max(longest, length);
    count++;
    if (first.length < FIRST_SAMPLES) first.push(sample);
  }
  return { count, longest, first };
}

function tooLong({ count, longest, first }: LongSamples, lengths: Int32Array, capacity: number): DatasetError {
  const one = first[0]!;
  const which = count === 1 ? `sample ${one} is` : `${grouped(count)} of ${grouped(lengths.length)} samples are`;
  return new DatasetError(
    `${which} longer than a batch may be`,
    {},
    {
      expected: `at most ${grouped(capacity)} tokens`,
      found:
        `${grouped(lengths[one]!)} tokens in sample ${one}, up to ${grouped(longest)} in all; ` +
        `raise the capacity of a batch, or of each of its rows, to ${grouped(longest)}, or say what to do with them: long_samples truncate, split or drop`,
    },
  );
}

function fit(
  lengths: Int32Array,
  capacity: number,
  policy: LongSamplePolicy,
): { samples: Int32Array; starts: Int32Array; lengths: Int32Array; lostTokens: number } {
  let count = 0;
  for (let sample = 0; sample < lengths.length; sample++) count += piecesOf(lengths[sample]!, capacity, policy);
  const samples = new Int32Array(count);
  const starts = new Int32Array(count);
  const fitted = new Int32Array(count);
  let placed = 0;
  let lostTokens = 0;
  for (let sample = 0; sample < lengths.length; sample++) {
    const length = lengths[sample]!;
    const pieces = piecesOf(length, capacity, policy);
    if (policy !== "split" && length > capacity) lostTokens += pieces === 0 ? length : length - capacity;
    for (let piece = 0; piece < pieces; piece++) {
      samples[placed] = sample;
      starts[placed] = piece * capacity;
      fitted[placed++] = Math.min(capacity, length - piece * capacity);
    }
  }
  return { samples, starts, lengths: fitted, lostTokens };
}

/** What a sample becomes: itself or its beginning, several pieces, or nothing. */
function piecesOf(length: number, capacity: number, policy: LongSamplePolicy): number {
  if (length <= capacity) return 1;
  if (policy === "split") return Math.ceil(length / capacity);
  return policy === "truncate" ? 1 : 0;
}
