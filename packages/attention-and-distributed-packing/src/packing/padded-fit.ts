import type { SampleLists } from "./sample-lists.ts";
import { SLICE_ITEMS, type Sliced } from "./sliced.ts";

/**
 * Bins that are padded to their longest sample: longest × samples stays within the capacity. Cutting the samples in order of their
 * lengths needs the fewest bins: whatever stands beside the longest sample of all, its bin takes ⌊capacity / longest⌋ samples, so it may
 * as well take the next longest, and the rest is the same question again.
 *
 * @param order sample numbers, longest first; none longer than `capacity`
 * @param lengths tokens by sample number
 * @param capacity tokens of a bin, padding included
 */
export function* paddedFit(order: Int32Array, lengths: ArrayLike<number>, capacity: number): Sliced<SampleLists> {
  const offsets = [0];
  for (let start = 0; start < order.length;) {
    const longest = lengths[order[start]!]!;
    const most = longest === 0 ? order.length : Math.floor(capacity / longest);
    start = Math.min(start + most, order.length);
    offsets.push(start);
    if (offsets.length % SLICE_ITEMS === 0) yield;
  }
  return { samples: order, offsets: Int32Array.from(offsets) };
}
