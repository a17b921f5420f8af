import { permutationInSlices } from "@fms-accel/trainer";
import { bestFit } from "./best-fit.ts";
import { longestFirst } from "./length-order.ts";
import { paddedFit } from "./padded-fit.ts";
import { listAt, listCount, type SampleLists } from "./sample-lists.ts";
import { seededFill } from "./seeded-fill.ts";
import { SLICE_ITEMS, type Sliced } from "./sliced.ts";
import { costOf, spreadLists } from "./spread-lists.ts";

export interface PlanOptions {
  /** Tokens of a bin: a whole number. No sample is longer. */
  readonly capacity: number;
  /** How a bin is measured: by the tokens in it, or padded to its longest sample. */
  readonly measure: BinMeasure;
  /** Bins of a step over all ranks. */
  readonly lanes: number;
  readonly seed: number;
}

export type BinMeasure = "tokens" | "padded";

/** Which samples every lane of every step of an epoch gets: list `step × lanes + lane`; empty for a lane that is idle in the last step. */
export interface EpochPlan extends SampleLists {
  readonly steps: number;
  readonly lanes: number;
  /** Bins that the samples need; where they do not fill the last step, those of the last step were split. */
  readonly bins: number;
}

/**
 * Deals the samples of an epoch out to steps and lanes, every sample once. Bins are made from the epoch's own shuffled order, and shuffled
 * again. If they do not fill the last step, the bins with the fewest tokens are kept for it and split, so that as few lanes as possible
 * are idle there.
 *
 * @param lengths tokens of every sample
 * @param epoch from 0
 */
export function* planEpoch(lengths: ArrayLike<number>, options: PlanOptions, epoch: number): Sliced<EpochPlan> {
  const order = yield* permutationInSlices(lengths.length, options.seed, epoch);
  return yield* planOrder(order, lengths, options, epoch);
}

/**
 * The same for samples in an order that is shuffled already.
 *
 * @param order sample numbers
 * @param stream of random numbers that the order came from; its complement shuffles the bins
 */
export function* planOrder(
  order: Int32Array,
  lengths: ArrayLike<number>,
  options: PlanOptions,
  stream: number,
): Sliced<EpochPlan> {
  const { lanes, measure } = options;
  const bins = yield* packBins(order, lengths, options);
  const steps = Math.ceil(listCount(bins) / lanes);
  const inLastStep = listCount(bins) - (steps - 1) * lanes;
  const last =
    inLastStep === lanes || steps === 0
      ? []
      : yield* cheapestBins(bins, inLastStep, (list) => costOf(list, lengths, "tokens"));
  const lastLists = spreadLists(
    last.map((bin) => listAt(bins, bin)),
    lengths,
    lanes,
    measure,
  );
  return yield* dealBins(bins, new Set(last), lastLists, options, stream);
}

/** Puts the bins into steps in a random order, all but those that are left out, and what makes the last step behind them. */
export function* dealBins(
  bins: SampleLists,
  leftOut: ReadonlySet<number>,
  lastStep: readonly Int32Array[],
  { lanes, seed }: PlanOptions,
  stream: number,
): Sliced<EpochPlan> {
  // The samples are shuffled by a stream of numbers; its complement is a stream that no other order has.
  const shuffled = yield* permutationInSlices(listCount(bins), seed, ~stream);
  const dealt = listCount(bins) - leftOut.size;
  const steps = Math.ceil((dealt + lastStep.length) / lanes);
  const samples = new Int32Array(bins.samples.length);
  const offsets = new Int32Array(steps * lanes + 1);
  let placed = 0;
  let lists = 0;
  const append = (list: Int32Array): void => {
    samples.set(list, placed);
    placed += list.length;
    offsets[++lists] = placed;
  };
  for (let i = 0; i < shuffled.length; i++) {
    if (!leftOut.has(shuffled[i]!)) append(listAt(bins, shuffled[i]!));
    if (i % SLICE_ITEMS === 0) yield;
  }
  for (const list of lastStep) append(list);
  offsets.fill(placed, lists + 1);
  return { steps, lanes, bins: listCount(bins), samples: samples.subarray(0, placed), offsets };
}

/** Bins of at most `capacity`, every sample of the order in one of them. */
export function* packBins(order: Int32Array, lengths: ArrayLike<number>, options: PlanOptions): Sliced<SampleLists> {
  return yield* options.measure === "padded"
    ? packPadded(order, lengths, options)
    : packTokens(order, lengths, options);
}

/** The fewer bins of two ways, which is most often the lower bound ⌈tokens / capacity⌉. */
function* packTokens(order: Int32Array, lengths: ArrayLike<number>, { capacity }: PlanOptions): Sliced<SampleLists> {
  const filled = yield* seededFill(order, lengths, capacity);
  let tokens = 0;
  for (let i = 0; i < order.length; i++) {
    tokens += lengths[i]!;
    if (i % SLICE_ITEMS === 0) yield;
  }
  if (listCount(filled) <= Math.ceil(tokens / capacity)) return filled;
  const fitted = yield* bestFit(yield* longestFirst(order, lengths), lengths, capacity);
  return listCount(fitted) < listCount(filled) ? fitted : filled;
}

function* packPadded(order: Int32Array, lengths: ArrayLike<number>, { capacity }: PlanOptions): Sliced<SampleLists> {
  return yield* paddedFit(yield* longestFirst(order, lengths), lengths, capacity);
}

/** Numbers of the `count` bins that cost least; of equal ones the first. */
export function* cheapestBins(
  bins: SampleLists,
  count: number,
  costOfBin: (list: Int32Array) => number,
): Sliced<number[]> {
  const cheapest: { readonly bin: number; readonly cost: number }[] = [];
  for (let bin = 0, done = 0; bin < listCount(bins); bin++) {
    const cost = costOfBin(listAt(bins, bin));
    if (cheapest.length < count || cost < cheapest.at(-1)!.cost) {
      const place = cheapest.findIndex((other) => cost < other.cost);
      cheapest.splice(place === -1 ? cheapest.length : place, 0, { bin, cost });
      if (cheapest.length > count) cheapest.pop();
    }
    if (bins.offsets[bin]! < done) continue;
    done += SLICE_ITEMS;
    yield;
  }
  return cheapest.map(({ bin }) => bin);
}
