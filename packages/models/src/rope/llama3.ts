import { defaultFrequencies, type InverseFrequencies } from "./default.ts";
import type { Llama3Rope } from "./rope-parameters.ts";

const { fround } = Math;

/** Llama 3.1's frequencies: short wavelengths kept, long ones divided by the factor, the band between them blended. */
export function llama3Frequencies(dim: number, rope: Llama3Rope): InverseFrequencies {
  const { ropeTheta, factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings: context } = rope;
  const longest = fround(context / lowFreqFactor);
  const shortest = fround(context / highFreqFactor);
  return defaultFrequencies(dim, ropeTheta).map((frequency) => {
    const wavelength = fround(fround(2 * Math.PI) / frequency);
    if (wavelength < shortest) {
      return frequency;
    }
    const divided = fround(frequency / fround(factor));
    if (wavelength > longest) {
      return divided;
    }
    const position = fround(fround(context / wavelength) - fround(lowFreqFactor));
    const smooth = fround(position / fround(highFreqFactor - lowFreqFactor));
    const slow = fround(fround(fround(1 - smooth) * frequency) / fround(factor));
    return slow + fround(smooth * frequency);
  });
}
