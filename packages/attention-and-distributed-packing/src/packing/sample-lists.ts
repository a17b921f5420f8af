import { SLICE_ITEMS, type Sliced } from "./sliced.ts";

/** Lists of sample numbers, one behind the other: list `i` is `samples[offsets[i] … offsets[i + 1])`. */
export interface SampleLists {
  readonly samples: Int32Array;
  /** int32 [lists + 1]. */
  readonly offsets: Int32Array;
}

export function listCount({ offsets }: SampleLists): number {
  return offsets.length - 1;
}

/** Sample numbers of a list: a view. */
export function listAt({ samples, offsets }: SampleLists, index: number): Int32Array {
  return samples.subarray(offsets[index], offsets[index + 1]);
}

/**
 * Collects samples by bin; within a bin they keep their order.
 *
 * @param order sample numbers: int32 [n]
 * @param binOf bin of each of them: int32 [n]
 */
export function* listsByBin(order: Int32Array, binOf: Int32Array, bins: number): Sliced<SampleLists> {
  const offsets = new Int32Array(bins + 1);
  for (let i = 0; i < binOf.length; i++) {
    offsets[binOf[i]! + 1]!++;
    if (i % SLICE_ITEMS === 0) yield;
  }
  for (let bin = 0; bin < bins; bin++) offsets[bin + 1]! += offsets[bin]!;
  const next = offsets.slice(0, bins);
  const samples = new Int32Array(binOf.length);
  for (let i = 0; i < binOf.length; i++) {
    samples[next[binOf[i]!]!++] = order[i]!;
    if (i % SLICE_ITEMS === 0) yield;
  }
  return { samples, offsets };
}
