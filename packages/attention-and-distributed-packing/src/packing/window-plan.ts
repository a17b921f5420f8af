import { permutationInSlices, windowStream, type StreamWindow } from "@fms-accel/trainer";
import { cheapestBins, dealBins, packBins, planOrder, type EpochPlan, type PlanOptions } from "./epoch-plan.ts";
import { listAt, listCount } from "./sample-lists.ts";
import type { Sliced } from "./sliced.ts";
import { costOf } from "./spread-lists.ts";

/** A window as it is dealt out, and what waits for the next one. */
export interface PackedWindow {
  readonly plan: EpochPlan;
  /** Sample numbers, those that have waited longest first. */
  readonly waiting: Int32Array;
}

/**
 * Deals the samples of a window of a stream out to steps and lanes. The emptiest bins are kept back, as the next window may fill them, so that all steps
 * but those of the last window are full: at least one bin, and as many more as leave whole steps. A bin with samples that have waited before
 * is kept back last. The last window is dealt like an epoch.
 */
export function* planWindow(window: StreamWindow, options: PlanOptions): Sliced<PackedWindow> {
  const { lengths, waited, isLast } = window;
  const stream = windowStream(window);
  const order = Int32Array.from(lengths.keys());
  const fresh = yield* permutationInSlices(lengths.length - waited, options.seed, stream);
  for (let i = 0; i < fresh.length; i++) order[waited + i] = waited + fresh[i]!;
  if (isLast) return { plan: yield* planOrder(order, lengths, options, stream), waiting: new Int32Array() };

  const bins = yield* packBins(order, lengths, options);
  const count = listCount(bins);
  const surplus = count === 0 ? 0 : ((count - 1) % options.lanes) + 1;
  const kept = yield* cheapestBins(bins, surplus, (list) => {
    const hasWaited = list.some((sample) => sample < waited);
    return costOf(list, lengths, "tokens") + (hasWaited ? options.capacity + 1 : 0);
  });
  const waiting = Int32Array.from(kept.flatMap((bin) => Array.from(listAt(bins, bin)))).sort();
  return { plan: yield* dealBins(bins, new Set(kept), [], options, stream), waiting };
}
