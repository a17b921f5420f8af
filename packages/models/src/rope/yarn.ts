import { type InverseFrequencies, rotaryPeriods } from "./default.ts";
import type { YarnRope } from "./rope-parameters.ts";

const { fround } = Math;

/** YaRN: a ramp over the dimensions from the plain frequencies (fast ones) to the interpolated frequencies (slow ones). */
export function yarnFrequencies(dim: number, rope: YarnRope): InverseFrequencies {
  const { ropeTheta, factor, originalMaxPositionEmbeddings, betaFast, betaSlow, truncate } = rope;
  // The dimension whose wavelength fits `rotations` times into the original context.
  const dimensionOf = (rotations: number): number =>
    (dim * Math.log(originalMaxPositionEmbeddings / (rotations * 2 * Math.PI))) / (2 * Math.log(ropeTheta));
  const low = Math.max(truncate ? Math.floor(dimensionOf(betaFast)) : dimensionOf(betaFast), 0);
  const high = Math.min(truncate ? Math.ceil(dimensionOf(betaSlow)) : dimensionOf(betaSlow), dim - 1);
  const width = low === high ? 0.001 : high - low; // no division by zero when the ramp has no width

  return rotaryPeriods(dim, ropeTheta).map((period, i) => {
    const extrapolated = fround(1 / period);
    const interpolated = fround(1 / fround(fround(factor) * period));
    const ramp = Math.min(Math.max(fround(fround(i - fround(low)) / fround(width)), 0), 1);
    const kept = fround(1 - ramp);
    return fround(interpolated * fround(1 - kept)) + fround(extrapolated * kept);
  });
}

/** Attention temperature of YaRN: 0.1 mscale ln(factor) + 1, or the quotient of two such where a configuration has both. */
export function yarnAttentionFactor(factor: number, mscale?: number | null, mscaleAllDim?: number | null): number {
  const temperature = (weight: number): number => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  return mscale && mscaleAllDim ? temperature(mscale) / temperature(mscaleAllDim) : temperature(1);
}
