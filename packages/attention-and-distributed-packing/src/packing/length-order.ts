import { SLICE_ITEMS, type Sliced } from "./sliced.ts";

/**
 * Sample numbers, longest sample first; equal lengths keep the order that they had.
 *
 * @param order sample numbers: int32 [n]
 * @param lengths tokens by sample number
 * @returns int32 [n]
 */
export function* longestFirst(order: Int32Array, lengths: ArrayLike<number>): Sliced<Int32Array> {
  let longest = 0;
  for (let i = 0; i < order.length; i++) {
    longest = Math.max(longest, lengths[order[i]!]!);
    if (i % SLICE_ITEMS === 0) yield;
  }
  // places[length]: where the next sample of this length goes.
  const places = new Int32Array(longest + 2);
  for (let i = 0; i < order.length; i++) {
    places[lengths[order[i]!]!]!++;
    if (i % SLICE_ITEMS === 0) yield;
  }
  for (let length = longest, place = 0; length >= 0; length--) {
    const count = places[length]!;
    places[length] = place;
    place += count;
  }
  const sorted = new Int32Array(order.length);
  for (let i = 0; i < order.length; i++) {
    const sample = order[i]!;
    sorted[places[lengths[sample]!]!++] = sample;
    if (i % SLICE_ITEMS === 0) yield;
  }
  return sorted;
}
