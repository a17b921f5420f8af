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
  const { lanes, measure, seed } = options;
  const order = yield* permutationInSlices(lengths.length, seed, epoch);
  const bins = yield* measure === "padded" ? packPadded(order, lengths, options) : packTokens(order, lengths, options);
  const steps = Math.ceil(listCount(bins) / lanes);
  const inLastStep = listCount(bins) - (steps - 1) * lanes;
  const last = inLastStep === lanes || steps === 0 ? [] : yield* emptiestBins(bins, lengths, inLastStep);
  const lastLists = spreadLists(
    last.map((bin) => listAt(bins, bin)),
    lengths,
    lanes,
    measure,
  );

  const isLast = new Uint8Array(listCount(bins));
  for (const bin of last) isLast[bin] = 1;
  // The samples are shuffled by the epoch's stream; its complement is a stream that no other epoch has.
  const shuffled = yield* permutationInSlices(listCount(bins), seed, ~epoch);
  const samples = new Int32Array(lengths.length);
  const offsets = new Int32Array(steps * lanes + 1);
  let placed = 0;
  let lists = 0;
  const append = (list: Int32Array): void => {
    samples.set(list, placed);
    placed += list.length;
    offsets[++lists] = placed;
  };
  for (let i = 0; i < shuffled.length; i++) {
    if (isLast[shuffled[i]!] === 0) append(listAt(bins, shuffled[i]!));
    if (i % SLICE_ITEMS === 0) yield;
  }
  for (const list of lastLists) append(list);
  offsets.fill(placed, lists + 1);
  return { steps, lanes, bins: listCount(bins), samples, offsets };
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

/** Numbers of the `count` bins with the fewest tokens; of equal ones the first. */
function* emptiestBins(bins: SampleLists, lengths: ArrayLike<number>, count: number): Sliced<number[]> {
  const emptiest: { readonly bin: number; readonly tokens: number }[] = [];
  for (let bin = 0, done = 0; bin < listCount(bins); bin++) {
    const tokens = costOf(listAt(bins, bin), lengths, "tokens");
    if (emptiest.length < count || tokens < emptiest.at(-1)!.tokens) {
      const place = emptiest.findIndex((other) => tokens < other.tokens);
      emptiest.splice(place === -1 ? emptiest.length : place, 0, { bin, tokens });
      if (emptiest.length > count) emptiest.pop();
    }
    if (bins.offsets[bin]! < done) continue;
    done += SLICE_ITEMS;
    yield;
  }
  return emptiest.map(({ bin }) => bin);
}
