/** How full the batches are on the recorded distributions of lengths. */
import { readJsonFixture } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import {
  FittedSamples,
  listCount,
  longestFirst,
  MultipackBatchSampler,
  nextFit,
  runAtOnce,
  bestFit,
} from "../../src/index.ts";

interface LengthsFixture {
  readonly lists: Readonly<
    Record<
      string,
      {
        readonly lengths: number[];
        readonly outcomes: {
          readonly packing: readonly {
            readonly capacity: number;
            readonly lower_bound: number;
            readonly best_fit_decreasing: number;
            readonly next_fit_in_order: number;
          }[];
        };
      }
    >
  >;
}

const { lists } = readJsonFixture<LengthsFixture>("data/orca-like.json");

/** `count` lengths of a list, from the start again where it is shorter. */
function take(name: string, count: number): Int32Array {
  const lengths = lists[name]?.lengths ?? [];
  return Int32Array.from({ length: count }, (_, i) => lengths[i % lengths.length]!);
}

function sampler(lengths: Int32Array, capacity: number, ranks = 1): MultipackBatchSampler {
  return new MultipackBatchSampler(lengths, {
    capacity,
    measure: "tokens",
    seed: 42,
    position: { rank: 0, worldSize: ranks },
  });
}

describe.each(["alpaca-52k", "orca-math-8000", "finetome-like-10k"])("10,000 lengths of %s at 4096", (name) => {
  const source = { length: 10_000, sample: () => ({ inputIds: new Int32Array(), labels: new Int32Array() }) };
  // FineTome-like samples have up to 8,192 tokens.
  const { lengths } = new FittedSamples(source, take(name, 10_000), 4096, "split");
  const tokens = lengths.reduce((a, b) => a + b, 0);

  it.each([0, 1, 2])("one rank, epoch %i: at least 99.5 %", (epoch) => {
    expect(sampler(lengths, 4096).statistics(epoch).efficiency).toBeGreaterThanOrEqual(0.995);
  });

  it.each([2, 4, 8])("%i ranks: at most one step more than the tokens fill", (ranks) => {
    const { steps } = sampler(lengths, 4096, ranks).statistics(0);
    expect(steps).toBeLessThanOrEqual(Math.ceil(tokens / (4096 * ranks)) + 1);
  });
});

describe.each(Object.entries(lists))("%s", (_, { lengths, outcomes }) => {
  it.each(outcomes.packing)("at $capacity: next fit and best fit as recorded, multipack no worse", (recorded) => {
    const { capacity } = recorded;
    const sizes = Int32Array.from(lengths);
    expect(nextFit(sizes, capacity)).toHaveLength(recorded.next_fit_in_order);
    const order = runAtOnce(longestFirst(Int32Array.from(sizes.keys()), sizes));
    expect(listCount(runAtOnce(bestFit(order, sizes, capacity)))).toBe(recorded.best_fit_decreasing);
    const steps = sampler(sizes, capacity).batchCount(0);
    expect(steps).toBeGreaterThanOrEqual(recorded.lower_bound);
    expect(steps).toBeLessThanOrEqual(recorded.best_fit_decreasing);
  });
});

it("puts 100 Alpaca-like samples into 4 rows in order, and into 3 by choice", () => {
  const lengths = take("alpaca-100-to-4", 100);
  expect(nextFit(lengths, 4096)).toHaveLength(4);
  expect(sampler(lengths, 4096).batchCount(0)).toBe(3);
});
