// A small deterministic random source for the demo's generators: the same seed writes the same files on every machine.

/**
 * Mulberry32: 32 bits of state, enough for drawing sentences.
 *
 * @param {number} seed
 * @returns {{ next(): number, integer(low: number, high: number): number, pick<T>(list: readonly T[]): T, chance(p: number): boolean, sample<T>(list: readonly T[], count: number): T[] }}
 */
export function createRandom(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  const integer = (low, high) => low + Math.floor(next() * (high - low + 1));
  const pick = (list) => list[integer(0, list.length - 1)];
  const chance = (p) => next() < p;
  const sample = (list, count) => {
    const rest = [...list];
    const chosen = [];
    while (chosen.length < count && rest.length > 0) chosen.push(...rest.splice(integer(0, rest.length - 1), 1));
    return chosen;
  };
  return { next, integer, pick, chance, sample };
}
