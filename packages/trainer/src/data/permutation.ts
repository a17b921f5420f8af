/**
 * A shuffled list of 0 … length − 1 that depends on `seed` and `stream` alone (Fisher-Yates over the 32-bit generator sfc32). The
 * orders of different epochs are different streams of one seed, so any epoch's order can be made without those before it.
 */
export function permutation(length: number, seed: number, stream: number): Int32Array {
  const work = permutationInSlices(length, seed, stream);
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
  }
}

/** Exchanges between two yields. */
const SLICE = 1 << 15;

/** The same, yielding now and then: for lists so long that the event loop must get a turn in between. */
export function* permutationInSlices(length: number, seed: number, stream: number): Generator<void, Int32Array> {
  const order = new Int32Array(length);
  for (let i = 0; i < length; i++) {
    order[i] = i;
    if (i % SLICE === 0) yield;
  }
  const next = sfc32(seed, stream);
  for (let i = length - 1; i > 0; i--) {
    const j = below(i + 1, next);
    const other = order[j]!;
    order[j] = order[i]!;
    order[i] = other;
    if (i % SLICE === 0) yield;
  }
  return order;
}

/** A number from 0 to limit − 1, all equally likely: draws of the last incomplete round are thrown away. */
function below(limit: number, next: () => number): number {
  const rounds = 2 ** 32 - (2 ** 32 % limit);
  for (;;) {
    const draw = next();
    if (draw < rounds) return draw % limit;
  }
}

/** Chris Doty-Humphrey's small fast counter generator (PractRand), seeded as there and run 20 rounds. */
function sfc32(seed: number, stream: number): () => number {
  let a = stream | 0;
  let b = seed | 0;
  let c = Math.floor(seed / 2 ** 32) | 0;
  let counter = 1;
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + sum) | 0;
    return sum >>> 0;
  };
  for (let i = 0; i < 20; i++) next();
  return next;
}
