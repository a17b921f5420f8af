import type { BatchSampler, RankPosition } from "@fms-accel/trainer";
import { counted, percent } from "./counting.ts";
import type { PackingStatistics } from "./multipack-sampler.ts";
import type { Sliced } from "./sliced.ts";

/** Tokens of micro-batches, and the positions that the model computes for them. */
export interface PaddingCost {
  readonly tokens: number;
  readonly positions: number;
}

/** What an epoch of padded batches costs: those of the rank that the sampler is for. */
export function* paddedCost(sampler: BatchSampler, lengths: Int32Array): Sliced<PaddingCost> {
  let tokens = 0;
  let positions = 0;
  const count = sampler.batchCount(0);
  for (let index = 0; index < count; index++) {
    const numbers = sampler.batch(0, index);
    let widest = 0;
    for (let i = 0; i < numbers.length; i++) {
      const length = lengths[numbers[i]!]!;
      tokens += length;
      widest = Math.max(widest, length);
    }
    positions += widest * numbers.length;
    if (index % 1024 === 0) yield;
  }
  return { tokens, positions };
}

/** `8,000 samples in 564 batches on 1 rank, 99.99 % full.` */
export function describePacking(
  { samples, steps, efficiency, fullStepEfficiency, idleRows }: PackingStatistics,
  { worldSize }: RankPosition,
): string {
  const ranks = worldSize === 1 ? "1 rank" : `each of ${worldSize} ranks`;
  const full = fullStepEfficiency === efficiency ? "" : `, ${percent(fullStepEfficiency)} without the last one`;
  const idle =
    idleRows === 0 ? "" : `; ${counted(idleRows, "place of the last one stays", "places of the last one stay")} empty`;
  return `${counted(samples, "sample")} in ${counted(steps, "batch", "batches")} on ${ranks}, ${percent(efficiency)} full${full}${idle}.`;
}

/** `35.02 % of 3,561,591 positions are padding` */
export function describePadding({ tokens, positions }: PaddingCost): string {
  return `${percent(positions === 0 ? 0 : 1 - tokens / positions)} of ${counted(positions, "position")} ${positions === 1 ? "is" : "are"} padding`;
}
