import type { BinMeasure } from "./epoch-plan.ts";

/**
 * Splits lists until there are `count` of them, or nothing is left to split: always the one that costs most, into two halves that cost about
 * the same. A part of a list never costs more than the list.
 *
 * @returns the lists, dearest first
 */
export function spreadLists(
  lists: readonly Int32Array[],
  lengths: ArrayLike<number>,
  count: number,
  measure: BinMeasure,
): Int32Array[] {
  const cost = (list: Int32Array): number => costOf(list, lengths, measure);
  const spread = [...lists].sort((a, b) => cost(b) - cost(a));
  while (spread.length > 0 && spread.length < count) {
    const at = spread.findIndex((list) => list.length > 1);
    if (at === -1) break;
    const [list] = spread.splice(at, 1) as [Int32Array];
    spread.push(...halves(list, lengths, measure));
    spread.sort((a, b) => cost(b) - cost(a));
  }
  return spread;
}

/** Tokens of a list, padded to the longest sample or not. */
export function costOf(list: ArrayLike<number>, lengths: ArrayLike<number>, measure: BinMeasure): number {
  let sum = 0;
  let longest = 0;
  for (let i = 0; i < list.length; i++) {
    const length = lengths[list[i]!]!;
    sum += length;
    longest = Math.max(longest, length);
  }
  return measure === "padded" ? longest * list.length : sum;
}

function halves(list: Int32Array, lengths: ArrayLike<number>, measure: BinMeasure): [Int32Array, Int32Array] {
  const sorted = list.slice().sort((a, b) => lengths[b]! - lengths[a]!);
  if (measure === "padded") {
    const middle = sorted.length >> 1;
    return [sorted.slice(0, middle), sorted.slice(middle)];
  }
  const first: number[] = [];
  const second: number[] = [];
  let ahead = 0;
  for (const sample of sorted) {
    // Of two empty halves the second sample takes the other one, also when neither has a token.
    const toSecond = ahead > 0 || (ahead === 0 && second.length < first.length);
    (toSecond ? second : first).push(sample);
    ahead += toSecond ? -lengths[sample]! : lengths[sample]!;
  }
  return [Int32Array.from(first), Int32Array.from(second)];
}
