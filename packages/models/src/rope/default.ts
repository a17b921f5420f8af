const { fround } = Math;

/** Frequencies of one rotary embedding: `dim / 2` of them, in radians a position. */
export type InverseFrequencies = Float32Array;

/**
 * theta ** (2i / dim) for every pair of dimensions, the wavelengths divided by 2π.
 *
 * All frequency formulas round to float32 after every step, as the reference does: at position 8,000 a difference in the
 * last bit of a frequency is already 5e-4 of a radian.
 */
export function rotaryPeriods(dim: number, theta: number): Float32Array {
  return Float32Array.from({ length: dim / 2 }, (_, i) => Math.pow(fround(theta), fround((2 * i) / dim)));
}

/** RoFormer's frequencies, theta ** (-2i / dim). */
export function defaultFrequencies(dim: number, theta: number): InverseFrequencies {
  return rotaryPeriods(dim, theta).map((period) => 1 / period);
}
