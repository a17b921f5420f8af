/** The largest |actual − expected|; NaN where exactly one is NaN counts as Infinity. Throws for different lengths. */
export function largestDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length)
    throw new Error(`${actual.length} values where ${expected.length} were expected`);
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const a = actual[i] as number;
    const b = expected[i] as number;
    if (a === b || (Number.isNaN(a) && Number.isNaN(b))) continue;
    const difference = Math.abs(a - b);
    largest = Math.max(largest, Number.isNaN(difference) ? Infinity : difference);
  }
  return largest;
}

/** `largestDifference` as a share of the largest |expected| (of 1e-30 where all are 0). */
export function relativeDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let largest = 1e-30;
  for (let i = 0; i < expected.length; i++) largest = Math.max(largest, Math.abs(expected[i] as number));
  return largestDifference(actual, expected) / largest;
}

/** Throws unless |actual − expected| ≤ absolute + relative · |expected| everywhere; names the worst element. */
export function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: { absolute?: number; relative?: number },
  label = "values",
): void {
  const { absolute = 0, relative = 0 } = tolerance;
  if (actual.length !== expected.length) {
    throw new Error(`${label}: ${actual.length} values where ${expected.length} were expected`);
  }
  let worst = -1;
  let excess = 0;
  for (let i = 0; i < expected.length; i++) {
    const a = actual[i] as number;
    const b = expected[i] as number;
    if (a === b || (Number.isNaN(a) && Number.isNaN(b))) continue;
    const over = Math.abs(a - b) - (absolute + relative * Math.abs(b));
    if (!(over <= excess)) {
      worst = i;
      excess = Number.isNaN(over) ? Infinity : over;
    }
  }
  if (worst >= 0) {
    throw new Error(
      `${label}: element ${worst} is ${actual[worst]}, expected ${expected[worst]} (absolute ${absolute}, relative ${relative})`,
    );
  }
}
