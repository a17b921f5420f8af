import { defaultFrequencies, type InverseFrequencies } from "./default.ts";
import type { DynamicRope } from "./rope-parameters.ts";

const { fround } = Math;

/**
 * Dynamic NTK: up to the trained length the plain frequencies, beyond it those of a larger base.
 *
 * The frequencies depend on the length of this call only. Transformers keeps the largest base it has seen until a call is
 * short again; here the same inputs give the same numbers whatever ran before, so that a resumed run repeats exactly.
 * @param length largest position of the call + 1
 */
export function dynamicFrequencies(dim: number, rope: DynamicRope, length: number): InverseFrequencies {
  const { ropeTheta, factor, maxPositionEmbeddings } = rope;
  if (length <= maxPositionEmbeddings) {
    return defaultFrequencies(dim, ropeTheta);
  }
  const scaled = fround(fround(fround(factor * length) / maxPositionEmbeddings) - (factor - 1));
  const growth = fround(Math.pow(scaled, dim / (dim - 2)));
  return defaultFrequencies(dim, fround(ropeTheta * growth));
}
