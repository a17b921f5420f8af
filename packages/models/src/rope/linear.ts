import { defaultFrequencies, type InverseFrequencies } from "./default.ts";
import type { LinearRope } from "./rope-parameters.ts";

/** Position interpolation: every frequency divided by the factor. */
export function linearFrequencies(dim: number, { ropeTheta, factor }: LinearRope): InverseFrequencies {
  return defaultFrequencies(dim, ropeTheta).map((frequency) => frequency / Math.fround(factor));
}
