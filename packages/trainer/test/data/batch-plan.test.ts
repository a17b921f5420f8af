import { describe, expect, it } from "vitest";
import {
  BatchPlan,
  collate,
  DatasetError,
  FixedOrderSampler,
  LengthGroupedSampler,
  loadDataset,
  preprocessDataset,
  RandomSampler,
  SequentialSampler,
  type BatchPlanOptions,
  type Sampler,
} from "../../src/data/index.ts";
import { errorOf, fixture, readFixture } from "./fixtures.ts";

const sorted = (values: ArrayLike<number>): number[] => Array.from(values).sort((a, b) => a - b);
const range = (length: number): number[] => Array.from({ length }, (_, i) => i);

const makeShuffledPlan = (): BatchPlan =>
  new BatchPlan(new RandomSampler(103, 5), { batchSize: 4, accumulationSteps: 3 });

/** The micro-batches of all steps of an epoch. */
function epochOf(sampler: Sampler, options: BatchPlanOptions, epoch = 0): number[][][] {
  const plan = new BatchPlan(sampler, options);
  return range(plan.stepsPerEpoch).map((step) => {
    const planned = plan.step(epoch * plan.stepsPerEpoch + step);
    expect(planned).toMatchObject({ epoch, stepInEpoch: step });
    return planned.microBatches.map((batch) => Array.from(batch));
  });
}

describe("samplers", () => {
  it("shuffle by seed and epoch, every sample once", () => {
    const sampler = new RandomSampler(1000, 42);
    const first = sampler.order(0);
    expect(sorted(first)).toEqual(range(1000));
    expect(sampler.order(1)).not.toEqual(first);
    expect(new RandomSampler(1000, 43).order(0)).not.toEqual(first);
    expect(new RandomSampler(1000, 42 + 2 ** 32).order(0)).not.toEqual(first);
    expect(new RandomSampler(1000, 42).order(0)).toEqual(first);
    expect(Array.from(new RandomSampler(8, 42).order(0))).toEqual([0, 2, 7, 5, 6, 4, 1, 3]);
  });

  it("shuffle evenly: every sample comes to every place about as often", () => {
    const counts = Array.from({ length: 6 }, () => range(6).fill(0));
    const rounds = 12_000;
    for (let epoch = 0; epoch < rounds; epoch++) {
      for (const [place, sample] of new RandomSampler(6, 7).order(epoch).entries()) counts[place]![sample]! += 1;
    }
    // 2000 expected; chi-squared of 25 degrees of freedom is above 52.6 in one of 1000 fair shuffles.
    const chiSquared = counts.flat().reduce((sum, count) => sum + (count - 2000) ** 2 / 2000, 0);
    expect(chiSquared).toBeLessThan(52.6);
  });

  it("group by length in megabatches, the longest sample first", () => {
    const lengths = range(1000).map((i) => 1 + ((i * 7919) % 613));
    const batchSize = 4;
    const sampler = new LengthGroupedSampler(lengths, batchSize, 3);
    const order = sampler.order(0);
    expect(sorted(order)).toEqual(range(1000));
    expect(lengths[order[0]!]).toBe(Math.max(...lengths));
    const megabatch = batchSize * 50;
    const firstOf: number[] = [];
    for (let start = 0; start < 1000; start += megabatch) {
      const part = Array.from(order.subarray(start, start + megabatch), (sample) => lengths[sample]!);
      // The first of each may have been exchanged for the longest of all.
      expect(part.slice(1)).toEqual(part.slice(1).sort((a, b) => b - a));
      firstOf.push(part[0]!);
    }
    expect(firstOf).toHaveLength(5);
    expect(sampler.order(1)).not.toEqual(order);
    // Few samples: HF takes at least one batch and at most a quarter of the batches.
    const few = Array.from(new LengthGroupedSampler([3, 1, 2, 9, 4], 4, 0).order(0), (i) => [3, 1, 2, 9, 4][i]!);
    expect(few[0]).toBe(9);
    const padding = (samples: number[]): number => {
      let slots = 0;
      for (let i = 0; i < samples.length; i += 4)
        slots += 4 * Math.max(...samples.slice(i, i + 4).map((s) => lengths[s]!));
      return slots;
    };
    expect(padding(Array.from(order))).toBeLessThan(0.75 * padding(Array.from(new RandomSampler(1000, 3).order(0))));
  });

  it("follow a given order, and refuse a sample that is not there", async () => {
    expect(Array.from(new FixedOrderSampler([2, 0, 1, 1], 3).order())).toEqual([2, 0, 1, 1]);
    for (const order of [[0, 3], [-1], [0.5], [Number.NaN]]) {
      expect((await errorOf(() => new FixedOrderSampler(order, 3))).message).toMatch(
        /of the order is not usable: expected .* 0 to 2/,
      );
    }
    expect(await errorOf(() => new FixedOrderSampler([], 3))).toBeInstanceOf(DatasetError);
    expect(await errorOf(() => new RandomSampler(0, 3))).toBeInstanceOf(DatasetError);
  });
});

describe("BatchPlan", () => {
  it("makes a step of the last, incomplete accumulation group and of the last, smaller batch", () => {
    expect(epochOf(new SequentialSampler(7), { batchSize: 2, accumulationSteps: 3 })).toEqual([
      [
        [0, 1],
        [2, 3],
        [4, 5],
      ],
      [[6]],
    ]);
    const plan = new BatchPlan(new SequentialSampler(7), { batchSize: 2, accumulationSteps: 3 });
    expect(plan).toMatchObject({ microBatchesPerEpoch: 4, stepsPerEpoch: 2, droppedSamples: 0, repeatedSamples: 0 });
    expect(plan.batchCount()).toBe(4);
    expect(Array.from(plan.batch(5, 3))).toEqual([6]);
  });

  it("drops the last batch when asked to", () => {
    const options = { batchSize: 2, accumulationSteps: 2, dropLast: true };
    expect(epochOf(new SequentialSampler(7), options)).toEqual([
      [
        [0, 1],
        [2, 3],
      ],
      [[4, 5]],
    ]);
    expect(new BatchPlan(new SequentialSampler(7), options).droppedSamples).toBe(1);
    const ranks = { batchSize: 2, dropLast: true, position: { rank: 1, worldSize: 2 } };
    expect(epochOf(new SequentialSampler(7), ranks)).toEqual([[[2, 3]]]);
    expect(new BatchPlan(new SequentialSampler(7), ranks).droppedSamples).toBe(3);
  });

  // What accelerate's BatchSamplerShard (split_batches=False, even_batches=True) gives for SequentialSampler(n), batch b, ranks w.
  it.each([
    [
      10,
      2,
      2,
      [
        [
          [0, 1],
          [4, 5],
          [8, 9],
        ],
        [
          [2, 3],
          [6, 7],
          [0, 1],
        ],
      ],
    ],
    [
      9,
      2,
      2,
      [
        [
          [0, 1],
          [4, 5],
          [8, 0],
        ],
        [
          [2, 3],
          [6, 7],
          [1, 2],
        ],
      ],
    ],
    [
      11,
      2,
      2,
      [
        [
          [0, 1],
          [4, 5],
          [8, 9],
        ],
        [
          [2, 3],
          [6, 7],
          [10, 0],
        ],
      ],
    ],
    [3, 2, 3, [[[0, 1]], [[2, 0]], [[1, 2]]]],
    [1, 2, 2, [[[0, 0]], [[0, 0]]]],
    [
      8,
      2,
      2,
      [
        [
          [0, 1],
          [4, 5],
        ],
        [
          [2, 3],
          [6, 7],
        ],
      ],
    ],
  ])("deals %i samples in batches of %i to %i ranks round robin", (samples, batchSize, worldSize, expected) => {
    for (const [rank, batches] of expected.entries()) {
      const options = { batchSize, position: { rank, worldSize } };
      expect(epochOf(new SequentialSampler(samples), options)).toEqual(batches.map((batch) => [batch]));
      const repeated = expected.flat(2).length - samples;
      expect(new BatchPlan(new SequentialSampler(samples), options).repeatedSamples).toBe(repeated);
    }
  });

  it("gives any step without those before it", () => {
    const steps = range(40).map((step) => makeShuffledPlan().step(step));
    const plan = makeShuffledPlan();
    for (const step of [39, 0, 17, 9, 8, 39, 20]) expect(plan.step(step)).toEqual(steps[step]);
    expect(
      sorted(steps.slice(0, 9).flatMap((step) => step.microBatches.flatMap((batch) => Array.from(batch)))),
    ).toEqual(range(103));
  });

  it("refuses what cannot be planned", async () => {
    const sampler = new SequentialSampler(3);
    const cases: [() => unknown, RegExp][] = [
      [
        () => new BatchPlan(sampler, { batchSize: 0 }),
        /the batch size is not usable: expected an integer from 1, found 0/,
      ],
      [
        () => new BatchPlan(sampler, { batchSize: 1, accumulationSteps: 1.5 }),
        /gradient_accumulation_steps is not usable/,
      ],
      [
        () => new BatchPlan(sampler, { batchSize: 1, position: { rank: 2, worldSize: 2 } }),
        /rank is not usable: expected 0 to 1/,
      ],
      [
        () => new BatchPlan(sampler, { batchSize: 4, dropLast: true }),
        /not one batch: expected at least 4 samples with/,
      ],
      [() => new BatchPlan(sampler, { batchSize: 1 }).step(-1), /no such step/],
      [() => new BatchPlan(sampler, { batchSize: 1 }).batch(0, 3), /no such micro-batch: expected 0 to 2, found 3/],
    ];
    for (const [action, message] of cases) expect((await errorOf(action)).message).toMatch(message);
  });
});

describe("the HF Trainer's runs", () => {
  interface Curve {
    ranks: number;
    arguments: { per_device_train_batch_size: number; gradient_accumulation_steps: number };
    steps: { step: number; num_items_in_batch: number; samples?: number[][]; samples_by_rank?: number[][][] }[];
  }

  it.each(["full-llama", "lora-llama", "lora-llama-nopadtokens", "ddp2-llama", "ddp2-llama-accumulate"])(
    "%s: samples and trainable tokens of every step",
    async (name) => {
      const curve = readFixture(`curves/${name}/curve.json`) as Curve;
      using samples = await preprocessDataset(await loadDataset(fixture(`curves/${name}/train.jsonl`)), undefined);
      expect(samples.length).toBe(40);
      const plans = range(curve.ranks).map(
        (rank) =>
          new BatchPlan(new SequentialSampler(samples.length), {
            batchSize: curve.arguments.per_device_train_batch_size,
            accumulationSteps: curve.arguments.gradient_accumulation_steps,
            position: { rank, worldSize: curve.ranks },
          }),
      );
      expect(curve.steps.length).toBeGreaterThan(10);
      for (const [i, step] of curve.steps.entries()) {
        const byRank = plans.map((plan) => plan.step(i).microBatches);
        expect(byRank.map((batches) => batches.map((batch) => Array.from(batch)))).toEqual(
          step.samples_by_rank ?? [step.samples],
        );
        const batches = byRank.flat().map((batch) =>
          collate(
            Array.from(batch, (sample) => samples.sample(sample)),
            { padTokenId: 0 },
          ),
        );
        expect(batches.reduce((sum, batch) => sum + batch.trainableTokens, 0)).toBe(step.num_items_in_batch);
      }
    },
  );
});

describe("an order of many samples", () => {
  it("is made in slices, between which the event loop has its turns", async () => {
    const sampler = new RandomSampler(300_000, 4);
    let slices = 0;
    const work = sampler.orderInSlices(1);
    let step = work.next();
    for (; step.done !== true; step = work.next()) slices++;
    expect(slices).toBeGreaterThanOrEqual(9);
    expect(Buffer.compare(Buffer.from(step.value.buffer), Buffer.from(sampler.order(1).buffer))).toBe(0);
    const prepared = new BatchPlan(sampler, { batchSize: 64 });
    await prepared.prepareEpoch(1);
    expect(prepared.batch(1, 300)).toEqual(new BatchPlan(sampler, { batchSize: 64 }).batch(1, 300));
  });
});
