/** What holds for every plan: each sample once, no batch above its capacity, all ranks with as many steps, and the same from the same seed. */
import { describe, expect, it } from "vitest";
import {
  bestFit,
  listAt,
  listCount,
  longestFirst,
  MultipackBatchSampler,
  planEpoch,
  runAtOnce,
  runInSlices,
  type SampleLists,
} from "../../src/index.ts";

const ROUNDS = Number(process.env["FMS_ACCEL_FUZZ"] ?? 60);

/** Whole numbers from 0, the same in every run. */
function generator(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x297a2d39) | 0;
    return ((state ^ (state >>> 13)) >>> 0) % limit;
  };
}

/** Lengths of one of several shapes: like ones, few long ones among short ones, and all that there is between. */
function drawLengths(draw: (limit: number) => number, capacity: number): Int32Array {
  const count = 1 + draw(300);
  const kind = draw(4);
  const one = 1 + draw(capacity);
  return Int32Array.from({ length: count }, () => {
    if (kind === 0) return one;
    if (kind === 1) return draw(10) === 0 ? 1 + draw(capacity) : 1 + draw(Math.max(1, capacity >> 4));
    if (kind === 2) return Math.max(1, capacity >> 1) + draw((capacity >> 1) + 1) - draw(2);
    return 1 + draw(capacity);
  }).map((length) => Math.min(capacity, Math.max(0, length)));
}

/** Standard deviation of the mean lengths of lists. */
function spreadOfMeans(lists: SampleLists, lengths: Int32Array): number {
  const means = Array.from({ length: listCount(lists) }, (_, index) => {
    const list = listAt(lists, index);
    return list.reduce((sum, sample) => sum + lengths[sample]!, 0) / list.length;
  });
  const mean = means.reduce((a, b) => a + b, 0) / means.length;
  return Math.sqrt(means.reduce((sum, one) => sum + (one - mean) ** 2, 0) / means.length);
}

it(`keeps its promises on ${ROUNDS} random settings`, () => {
  const draw = generator(1);
  for (let round = 0; round < ROUNDS; round++) {
    const ranks = 1 + draw(5);
    const rows = draw(3) === 0 ? 1 + draw(4) : 1;
    const rowCapacity = 1 + draw(500);
    const lengths = drawLengths(draw, rowCapacity);
    const measure = rows === 1 && draw(3) === 0 ? "padded" : "tokens";
    const samplers = Array.from(
      { length: ranks },
      (_, rank) =>
        new MultipackBatchSampler(lengths, {
          capacity: rowCapacity * rows,
          rows,
          measure,
          position: { rank, worldSize: ranks },
          seed: round,
        }),
    );
    const epoch = draw(3);
    const steps = samplers[0]!.batchCount(epoch);
    const seen: number[] = [];
    let tokens = 0;
    for (const sampler of samplers) {
      expect(sampler.batchCount(epoch)).toBe(steps);
      for (let step = 0; step < steps; step++) {
        for (const row of sampler.batchRows(epoch, step)) {
          const sizes = Array.from(row, (sample) => lengths[sample]!);
          const sum = sizes.reduce((a, b) => a + b, 0);
          expect(measure === "padded" ? Math.max(...sizes) * sizes.length : sum).toBeLessThanOrEqual(rowCapacity);
          seen.push(...row);
          tokens += sum;
        }
        // Only in the last step may a rank have nothing to do.
        if (step < steps - 1) expect(sampler.batch(epoch, step).length).toBeGreaterThan(0);
      }
    }
    expect(seen.sort((a, b) => a - b)).toEqual(Array.from(lengths.keys()));
    const statistics = samplers[0]!.statistics(epoch);
    expect(statistics).toMatchObject({ samples: lengths.length, tokens, steps });
    expect(statistics.slots).toBe(steps * ranks * rows * rowCapacity);
    expect(statistics.positions).toBeGreaterThanOrEqual(tokens);
  }
});

describe("an epoch", () => {
  const lengths = Int32Array.from({ length: 500 }, (_, i) => 1 + ((i * 7919) % 97));
  const make = (seed: number): MultipackBatchSampler =>
    new MultipackBatchSampler(lengths, { capacity: 256, measure: "tokens", seed });
  const batchesOf = (sampler: MultipackBatchSampler, epoch: number): number[][] =>
    Array.from({ length: sampler.batchCount(epoch) }, (_, index) => Array.from(sampler.batch(epoch, index)));

  it("is another one with another number or seed, and the same with the same, whatever was asked before", () => {
    const sampler = make(1);
    const second = batchesOf(sampler, 1);
    expect(batchesOf(sampler, 0)).not.toEqual(second);
    expect(batchesOf(make(2), 1)).not.toEqual(second);
    expect(batchesOf(sampler, 1)).toEqual(second);
    expect(batchesOf(make(1), 1)).toEqual(second);
  });

  it("mixes lengths, where packing the sorted samples puts like ones together", () => {
    const many = Int32Array.from({ length: 5000 }, (_, i) => 1 + ((i * 7919) % 97));
    const options = { capacity: 1024, measure: "tokens", lanes: 1, seed: 1 } as const;
    const sorted = runAtOnce(bestFit(runAtOnce(longestFirst(Int32Array.from(many.keys()), many)), many, 1024));
    expect(spreadOfMeans(runAtOnce(planEpoch(many, options, 0)), many)).toBeLessThan(spreadOfMeans(sorted, many) / 2);
  });

  it("begins anywhere with what a run from its start would see there", () => {
    const whole = batchesOf(make(3), 4);
    expect(Array.from(make(3).batch(4, 17))).toEqual(whole[17]);
  });

  it("keeps the samples that do not fill the last step, and spreads them over the ranks", () => {
    // 9 samples of 10 fill 3 of 4 bins: with 4 ranks the original would drop 3 of them and make no step at all.
    const nine = new Int32Array(9).fill(10);
    const ranks = [0, 1, 2, 3].map(
      (rank) =>
        new MultipackBatchSampler(nine, { capacity: 30, measure: "tokens", seed: 0, position: { rank, worldSize: 4 } }),
    );
    expect(ranks.map((sampler) => sampler.batchCount(0))).toEqual([1, 1, 1, 1]);
    expect(ranks.map((sampler) => sampler.batch(0, 0).length).sort((a, b) => a - b)).toEqual([1, 2, 3, 3]);
    const two = ranks.map(
      (_, rank) =>
        new MultipackBatchSampler(nine.subarray(0, 2), {
          capacity: 30,
          measure: "tokens",
          seed: 0,
          position: { rank, worldSize: 4 },
        }),
    );
    expect(two.map((sampler) => sampler.batch(0, 0).length)).toEqual([1, 1, 0, 0]);
    expect(two[0]!.statistics(0)).toMatchObject({ steps: 1, idleRows: 2, tokens: 20, slots: 120 });
  });
});

describe("planning in slices", () => {
  const lengths = Int32Array.from({ length: 400_000 }, (_, i) => 40 + ((i * 7919) % 977));
  const options = { capacity: 4096, measure: "tokens", lanes: 4, seed: 9 } as const;

  it("gives the same plan as planning at once, and the event loop its turns", async () => {
    let turns = 0;
    const count = (): void => {
      turns++;
      next = setImmediate(count);
    };
    let next = setImmediate(count);
    // Slices of no time: a turn at every yield.
    const sliced = await runInSlices(planEpoch(lengths, options, 0), 0);
    clearImmediate(next);
    expect(turns).toBeGreaterThan(50);
    const whole = runAtOnce(planEpoch(lengths, options, 0));
    expect(listCount(sliced)).toBe(listCount(whole));
    expect(Buffer.compare(Buffer.from(sliced.samples.buffer), Buffer.from(whole.samples.buffer))).toBe(0);
    expect(Buffer.compare(Buffer.from(sliced.offsets.buffer), Buffer.from(whole.offsets.buffer))).toBe(0);
    expect(listAt(sliced, 0).length).toBeGreaterThan(0);
  });
});

it.each([
  [{ capacity: 0 }, "the capacity of a batch is not usable: expected tokens from 1 on, found 0"],
  [{ capacity: Number.NaN }, "the capacity of a batch is not usable"],
  [{ capacity: 3, rows: 4 }, "expected tokens from 4 on: one for each row, found 3"],
  [
    { capacity: 4 },
    "a sample does not fit into a batch: expected at most 4 tokens in a sample, found 5 tokens in sample 1",
  ],
  [{ rows: 0 }, "the number of rows is not usable: expected an integer from 1, found 0"],
  [{ rows: 2, measure: "padded" }, "rows that hold several samples are measured in tokens"],
  [{ position: { rank: 2, worldSize: 2 } }, "the rank is not usable: expected 0 to 1, found 2"],
] as const)("refuses %j", (wrong, message) => {
  const make = (): MultipackBatchSampler =>
    new MultipackBatchSampler(Int32Array.of(2, 5), { capacity: 16, measure: "tokens", seed: 0, ...wrong });
  expect(make).toThrow(message);
});

it("refuses an empty data set and batches that there are none of", () => {
  const options = { capacity: 4, measure: "tokens", seed: 0 } as const;
  expect(() => new MultipackBatchSampler(new Int32Array(), options)).toThrow("no samples to pack");
  const sampler = new MultipackBatchSampler(Int32Array.of(4), options);
  expect(() => sampler.batch(0, 1)).toThrow("no such micro-batch: expected 0 to 0, found 1");
});
