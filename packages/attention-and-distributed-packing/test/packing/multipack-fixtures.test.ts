/**
 * The recorded epochs of fms-acceleration's sampler. Its batches are not copied: it loses the last group of an epoch, and what it fills are
 * the next samples of a shuffled list. Two comparisons are fair: on the samples that it packed, ours never needs more steps, so that its efficiency
 * is never lower; and on all samples, ours never needs more steps than it would with those that it lost. Over an epoch with the lost samples in it the
 * efficiency can be lower, as they rarely fill a last step: then no packing has fewer steps, by their number of tokens alone.
 */
import { readJsonFixture } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import { FittedSamples, MultipackBatchSampler, packingForBatch } from "../../src/index.ts";

interface MultipackFixture {
  readonly lists: Readonly<Record<string, number[]>>;
  readonly cases: readonly MultipackCase[];
  readonly effective_batch: readonly {
    readonly num_gpus: number;
    readonly avg_sample_len: number;
    readonly effective_batch_size: number;
    readonly max_batch_len_per_gpu: number;
    readonly packing_max_batch_len: number;
    readonly grad_accum: number;
  }[];
}

interface MultipackCase {
  readonly name: string;
  readonly lengths: string;
  readonly capacity: number;
  readonly ranks: number;
  readonly seed: number;
  readonly padding: boolean;
  readonly epochs: readonly {
    readonly epoch: number;
    readonly steps: number;
    readonly used: number;
    readonly efficiency: { readonly result?: number };
    readonly dropped_too_long: number[];
    readonly dropped_trailing: number[];
  }[];
}

const fixture = readJsonFixture<MultipackFixture>("data/multipack.json");

/** The fewest bins padded to their longest sample: what stands beside the longest may as well be the next longest. */
function paddedBins(lengths: Int32Array, capacity: number): number {
  const decreasing = lengths.slice().sort((a, b) => b - a);
  let bins = 0;
  for (let start = 0; start < decreasing.length; start += Math.floor(capacity / decreasing[start]!)) bins++;
  return bins;
}

describe.each(fixture.cases)("$name", ({ lengths: list, capacity, ranks, seed, padding, epochs }) => {
  const lengths = Int32Array.from(fixture.lists[list] ?? []);
  const source = { length: lengths.length, sample: () => ({ inputIds: new Int32Array(), labels: new Int32Array() }) };
  const isAnythingLeft = lengths.some((length) => length <= Math.floor(capacity)) && capacity >= 1;

  if (!isAnythingLeft) {
    it("is refused: no sample fits", () => {
      expect(() => new FittedSamples(source, lengths, Math.floor(capacity), "drop")).toThrow(
        capacity < 1 ? "the capacity of a batch is not usable" : "no samples are left",
      );
    });
    return;
  }

  it.each(epochs)("epoch $epoch: at least as many tokens in as many steps", (recorded) => {
    const fitted = new FittedSamples(source, lengths, Math.floor(capacity), "drop");
    expect(fitted.report.long).toBe(recorded.dropped_too_long.length);
    const samplers = Array.from(
      { length: ranks },
      (_, rank) =>
        new MultipackBatchSampler(fitted.lengths, {
          capacity,
          measure: padding ? "padded" : "tokens",
          position: { rank, worldSize: ranks },
          seed,
        }),
    );
    const steps = samplers[0]!.batchCount(recorded.epoch);
    const seen: number[] = [];
    const tokens = Array.from({ length: steps }, (_, step) => {
      let sum = 0;
      for (const sampler of samplers) {
        const batch = Array.from(sampler.batch(recorded.epoch, step));
        const sizes = batch.map((sample) => fitted.lengths[sample]!);
        const total = sizes.reduce((a, b) => a + b, 0);
        expect(padding ? Math.max(0, ...sizes) * sizes.length : total).toBeLessThanOrEqual(capacity);
        seen.push(...batch);
        sum += total;
      }
      return sum;
    });
    // Nothing is lost, nothing is taken twice.
    expect(seen.sort((a, b) => a - b)).toEqual(Array.from(fitted.lengths.keys()));

    // What it lost is work that is left: at least as many steps as those tokens fill.
    const lost = recorded.dropped_trailing.reduce((sum, sample) => sum + lengths[sample]!, 0);
    expect(steps).toBeLessThanOrEqual(recorded.steps + Math.ceil(lost / (capacity * ranks)));
    const total = tokens.reduce((sum, one) => sum + one, 0);
    if (total / (steps * capacity * ranks) < (recorded.efficiency.result ?? 0) * (1 - 1e-12)) {
      expect(lost).toBeGreaterThan(0);
      const bins = padding ? paddedBins(fitted.lengths, capacity) : Math.ceil(total / Math.floor(capacity));
      expect(steps).toBe(Math.ceil(bins / ranks));
    }
    const fullest = tokens.sort((a, b) => b - a).slice(0, recorded.steps);
    expect(fullest.reduce((a, b) => a + b, 0)).toBeGreaterThanOrEqual(recorded.used);
    const statistics = samplers[0]!.statistics(recorded.epoch);
    expect(statistics.fullStepEfficiency).toBeGreaterThanOrEqual(
      (recorded.efficiency.result ?? 0) * (capacity / Math.floor(capacity)) * (1 - 1e-12),
    );
  });

  it.each(epochs.filter(({ steps }) => steps > 0))(
    "epoch $epoch: the samples that it packed, no less efficiently",
    ({ epoch, steps, used, efficiency, dropped_too_long: long, dropped_trailing: trailing }) => {
      const left = new Set([...long, ...trailing]);
      const packed = lengths.filter((_, sample) => !left.has(sample));
      const tokens = packed.reduce((sum, length) => sum + length, 0);
      expect(tokens).toBe(used);
      const sampler = new MultipackBatchSampler(packed, {
        capacity,
        measure: padding ? "padded" : "tokens",
        position: { rank: 0, worldSize: ranks },
        seed,
      });
      const ours = sampler.batchCount(epoch);
      expect(ours).toBeLessThanOrEqual(steps);
      expect(tokens / (ours * capacity * ranks)).toBeGreaterThanOrEqual(efficiency.result! * (1 - 1e-12));
    },
  );
});

it.each(fixture.effective_batch)(
  "$effective_batch_size samples of $avg_sample_len tokens on $num_gpus ranks",
  ({ num_gpus, avg_sample_len, effective_batch_size, max_batch_len_per_gpu, packing_max_batch_len, grad_accum }) => {
    expect(
      packingForBatch({
        batchSize: effective_batch_size,
        ranks: num_gpus,
        meanLength: avg_sample_len,
        mostTokens: max_batch_len_per_gpu,
      }),
    ).toEqual({ capacity: packing_max_batch_len, accumulationSteps: grad_accum });
  },
);
