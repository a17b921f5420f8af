/** The error function in float64: its Taylor series where that converges fast, else the continued fraction of erfc. */
export function erf(x: number): number {
  if (Number.isNaN(x)) return NaN;
  const size = Math.abs(x);
  if (size > 6) return Math.sign(x);
  if (size < 2.5) {
    let term = x;
    let sum = x;
    for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
      term *= -(x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let k = 60; k >= 1; k--) fraction = k / 2 / (size + fraction);
  return Math.sign(x) * (1 - Math.exp(-size * size) / Math.sqrt(Math.PI) / (size + fraction));
}

export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** The distance from float32 `actual` to `exact`, in units of the last place of `exact`. */
export function unitsInLastPlace(actual: number, exact: number): number {
  if (Object.is(actual, Math.fround(exact)) || actual === Math.fround(exact)) return 0;
  if (!Number.isFinite(actual) || !Number.isFinite(exact))
    return Number.isNaN(actual) && Number.isNaN(exact) ? 0 : Infinity;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(exact))), -126);
  return Math.abs(actual - exact) / 2 ** (exponent - 23);
}
