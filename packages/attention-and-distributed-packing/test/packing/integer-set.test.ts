import { expect, it } from "vitest";
import { IntegerSet } from "../../src/packing/integer-set.ts";

/** Largest members that leave the tree with one to four levels, full words and single bits. */
it.each([0, 1, 31, 32, 33, 1023, 1024, 40_000])("finds neighbours among 0 … %i as a plain search does", (largest) => {
  const set = new IntegerSet(largest);
  const members = new Set<number>();
  let state = 12345;
  const draw = (): number => (state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff) % (largest + 1);
  const rounds = Math.min(400, 4 * (largest + 1));
  for (let round = 0; round < rounds; round++) {
    const value = draw();
    if (round % 3 === 2) {
      set.delete(value);
      members.delete(value);
    } else {
      set.add(value);
      members.add(value);
    }
    const from = draw();
    const sorted = [...members].sort((a, b) => a - b);
    expect(set.next(from)).toBe(sorted.find((member) => member >= from) ?? -1);
    expect(set.previous(from)).toBe(sorted.findLast((member) => member <= from) ?? -1);
  }
  expect(set.next(largest + 1)).toBe(-1);
  expect(set.previous(-1)).toBe(-1);
});
