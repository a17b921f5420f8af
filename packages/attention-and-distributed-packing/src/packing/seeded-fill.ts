import type { SampleLists } from "./sample-lists.ts";
import { SamplePool } from "./sample-pool.ts";
import { SLICE_ITEMS, type Sliced } from "./sliced.ts";

/** Room, in mean lengths, that is left to `closeGap`. */
const GAP_MEANS = 3;
/** Questions to the pool for one gap, at most. */
const GAP_TRIES = 2048;

/**
 * One bin after the other: the longest sample that is left, then samples as they come in the given order, and for the last gap the one, two
 * or three samples that fill it best. So every bin mixes lengths, and few of them have room left. Best fit decreasing, in contrast, puts
 * samples of like length together and leaves a gap up to the shortest sample in almost every bin.
 *
 * @param order sample numbers, shuffled; none longer than `capacity`
 * @param lengths tokens by sample number
 * @param capacity tokens of a bin
 */
export function* seededFill(order: Int32Array, lengths: ArrayLike<number>, capacity: number): Sliced<SampleLists> {
  const pool = yield* SamplePool.create(order, lengths);
  const samples = new Int32Array(order.length);
  const offsets = [0];
  let placed = 0;
  let pause = SLICE_ITEMS;
  while (pool.samples > 0) {
    const seed = pool.longest(capacity);
    samples[placed++] = pool.take(seed);
    let room = capacity - seed;
    for (;;) {
      const next = pool.nextLength();
      if (next === -1 || room - next < (GAP_MEANS - 1) * (pool.tokens / pool.samples)) break;
      samples[placed++] = pool.takeNext();
      room -= next;
    }
    for (let gap = closeGap(pool, room); gap.length > 0; gap = closeGap(pool, room)) {
      for (const length of gap) {
        samples[placed++] = pool.take(length);
        room -= length;
      }
    }
    offsets.push(placed);
    // A gap is worth some hundred samples of work.
    if (placed + 256 * offsets.length < pause) continue;
    pause += SLICE_ITEMS;
    yield;
  }
  return { samples, offsets: Int32Array.from(offsets) };
}

/** Lengths of up to three samples that are left and fill `room` best; none where nothing fits. */
function closeGap(pool: SamplePool, room: number): readonly number[] {
  const longest = pool.longest(room);
  if (longest === -1) return [];
  if (longest === room) return [longest];
  let best: readonly number[] = [longest];
  let waste = room - longest;
  let tries = 0;
  // With two samples, the shorter takes up to half of the room; with three, the shortest up to a third.
  for (let c = 0, third = room; waste > 0 && tries < GAP_TRIES; c++) {
    if (c > 0) {
      third = pool.longest(c === 1 ? Math.floor(room / 3) : third - 1);
      if (third === -1) break;
    }
    const rest = c === 0 ? room : room - third;
    const others = c === 0 ? [] : [third];
    for (let a = pool.longest(Math.floor(rest / 2)); a !== -1; a = pool.longest(a - 1)) {
      const b = pool.longest(rest - a);
      tries++;
      if (tries >= GAP_TRIES) break;
      const left = rest - a - b;
      if (left >= waste || !hasAll(pool, [...others, a, b])) continue;
      best = [...others, a, b];
      waste = left;
      if (waste === 0) break;
    }
  }
  return best;
}

/** Whether the pool has these samples all at once. */
function hasAll(pool: SamplePool, lengths: readonly number[]): boolean {
  return lengths.every((length) => pool.count(length) >= lengths.filter((other) => other === length).length);
}
