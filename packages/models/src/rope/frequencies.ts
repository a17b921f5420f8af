import { defaultFrequencies, type InverseFrequencies } from "./default.ts";
import { dynamicFrequencies } from "./dynamic.ts";
import { linearFrequencies } from "./linear.ts";
import { llama3Frequencies } from "./llama3.ts";
import { longropeFrequencies } from "./longrope.ts";
import type { RopeParameters } from "./rope-parameters.ts";
import { yarnFrequencies } from "./yarn.ts";

/**
 * The `dim / 2` rotary frequencies of a configuration.
 * @param length largest position of the call + 1; only the types of which `dependsOnLength` is true look at it
 */
export function rotaryFrequencies(rope: RopeParameters, dim: number, length: number): InverseFrequencies {
  switch (rope.ropeType) {
    case "linear":
      return linearFrequencies(dim, rope);
    case "dynamic":
      return dynamicFrequencies(dim, rope, length);
    case "yarn":
      return yarnFrequencies(dim, rope);
    case "longrope":
      return longropeFrequencies(dim, rope, length);
    case "llama3":
      return llama3Frequencies(dim, rope);
    default:
      return defaultFrequencies(dim, rope.ropeTheta);
  }
}

/** Whether a longer call changes the frequencies of all its positions. */
export function dependsOnLength(rope: RopeParameters): boolean {
  return rope.ropeType === "dynamic" || rope.ropeType === "longrope";
}

/** The smallest length whose frequencies are those of `length`: calls of one such length are computed alike. */
export function equivalentLength(rope: RopeParameters, length: number): number {
  switch (rope.ropeType) {
    case "dynamic":
      return Math.max(length, rope.maxPositionEmbeddings);
    case "longrope":
      return length > rope.originalMaxPositionEmbeddings ? rope.originalMaxPositionEmbeddings + 1 : 0;
    default:
      return 0;
  }
}

/** What cosines and sines are multiplied by. */
export function attentionScaling(rope: RopeParameters): number {
  return rope.ropeType === "yarn" || rope.ropeType === "longrope" ? rope.attentionFactor : 1;
}
