import { type InverseFrequencies, rotaryPeriods } from "./default.ts";
import type { LongRope } from "./rope-parameters.ts";

/**
 * LongRoPE: every frequency divided by its own factor. Which set of factors counts is one decision for the whole call.
 * @param length largest position of the call + 1
 */
export function longropeFrequencies(dim: number, rope: LongRope, length: number): InverseFrequencies {
  const factors = length > rope.originalMaxPositionEmbeddings ? rope.longFactor : rope.shortFactor;
  return rotaryPeriods(dim, rope.ropeTheta).map((period, i) => 1 / Math.fround(Math.fround(factors[i]!) * period));
}

/** Attention temperature of LongRoPE for a context that was extended `factor` times. */
export function longropeAttentionFactor(factor: number, originalMaxPositionEmbeddings: number): number {
  return factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalMaxPositionEmbeddings));
}
