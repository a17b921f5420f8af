/** Streams are packed a window at a time: each sample once, none above the capacity, full steps, and all ranks with as many. */
import { readJsonFixture } from "@fms-accel/test-utilities";
import type { StreamWindow } from "@fms-accel/trainer";
import { describe, expect, it } from "vitest";
import { createMultipackPlanner, listAt, listCount, planWindow, runAtOnce, type BinMeasure } from "../../src/index.ts";

const ROUNDS = Number(process.env["FMS_ACCEL_FUZZ"] ?? 40);

interface Dealt {
  /** Samples by their numbers in the stream, for each step and lane. */
  readonly steps: number[][][];
  /** Windows that each sample was in. */
  readonly windows: Int32Array;
  /** The first step of the last window. */
  readonly lastWindow: number;
}

/** Deals a whole stream out, as a loader does. */
function deal(
  lengths: readonly number[],
  size: number,
  options: { capacity: number; lanes: number; measure?: BinMeasure; seed?: number },
): Dealt {
  const steps: number[][][] = [];
  const windows = new Int32Array(lengths.length);
  let waiting: number[] = [];
  let lastWindow = 0;
  for (let next = 0, index = 0; next < lengths.length; index++) {
    const end = Math.min(next + size, lengths.length);
    const numbers = [...waiting, ...Array.from({ length: end - next }, (_, i) => next + i)];
    for (const number of numbers) windows[number]!++;
    next = end;
    const window: StreamWindow = {
      epoch: 0,
      index,
      lengths: Int32Array.from(numbers, (number) => lengths[number]!),
      waited: waiting.length,
      isLast: next === lengths.length,
    };
    if (window.isLast) lastWindow = steps.length;
    const { plan, waiting: kept } = runAtOnce(planWindow(window, { measure: "tokens", seed: 5, ...options }));
    expect(listCount(plan)).toBe(plan.steps * options.lanes);
    for (let step = 0; step < plan.steps; step++) {
      steps.push(
        Array.from({ length: options.lanes }, (_, lane) =>
          Array.from(listAt(plan, step * options.lanes + lane), (sample) => numbers[sample]!),
        ),
      );
    }
    waiting = Array.from(kept, (sample) => numbers[sample]!);
    expect(waiting).toEqual(waiting.toSorted((a, b) => a - b));
  }
  expect(waiting).toEqual([]);
  return { steps, windows, lastWindow };
}

/** Whole numbers from 0, the same in every run. */
function generator(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x297a2d39) | 0;
    return ((state ^ (state >>> 13)) >>> 0) % limit;
  };
}

it(`keeps its promises on ${ROUNDS} random streams`, () => {
  const draw = generator(3);
  for (let round = 0; round < ROUNDS; round++) {
    const capacity = 1 + draw(300);
    const lengths = Array.from({ length: 1 + draw(400) }, () =>
      draw(8) === 0 ? 1 + draw(capacity) : 1 + draw(Math.max(1, capacity >> 3)),
    );
    const size = 1 + draw(120);
    const lanes = 1 + draw(6);
    const measure = draw(3) === 0 ? "padded" : "tokens";
    const options = { capacity, lanes, measure, seed: round } as const;
    const { steps, lastWindow } = deal(lengths, size, options);
    expect(
      steps
        .flat(2)
        .sort((a, b) => a - b)
        .join(),
    ).toBe(lengths.map((_, i) => i).join());
    for (const [step, lists] of steps.entries()) {
      for (const list of lists) {
        const sizes = list.map((sample) => lengths[sample]!);
        const cost = measure === "padded" ? Math.max(0, ...sizes) * sizes.length : sizes.reduce((a, b) => a + b, 0);
        expect(cost).toBeLessThanOrEqual(capacity);
        // Only the last window may leave a rank without a share.
        if (step < lastWindow) expect(list.length).toBeGreaterThan(0);
      }
    }
    expect(deal(lengths, size, options).steps).toEqual(steps);
  }
});

describe("Orca-like samples at 4096", () => {
  const { lengths } = readJsonFixture<{ lists: Record<string, { lengths: number[] }> }>("data/orca-like.json").lists[
    "orca-math-8000"
  ]!;
  const tokens = lengths.reduce((a, b) => a + b, 0);

  it.each([
    [500, 1],
    [500, 4],
    [1000, 1],
    [1000, 8],
  ])("in windows of %i on %i ranks need at most one step more than the tokens fill", (size, lanes) => {
    const { steps, windows } = deal(lengths, size, { capacity: 4096, lanes });
    expect(steps.length).toBeLessThanOrEqual(Math.ceil(tokens / (4096 * lanes)) + 1);
    // Nobody waits for ever.
    expect(Math.max(...windows)).toBeLessThanOrEqual(2);
  });
});

describe("the planner of a stream", () => {
  const input = {
    collator: () => {
      throw new Error("no batch is made here");
    },
    isPaddingFree: false,
    padTokenId: 0,
    position: { rank: 0, worldSize: 1 },
    seed: 1,
  };

  it("gives every rank as many batches, and each its own part", async () => {
    const lengths = Int32Array.from({ length: 90 }, (_, i) => 1 + ((i * 7919) % 23));
    const window = { epoch: 2, index: 1, lengths, waited: 4, isLast: false };
    const ranks = await Promise.all(
      [0, 1, 2].map((rank) =>
        createMultipackPlanner(
          { ...input, position: { rank, worldSize: 3 } },
          { capacity: 128, rows: 2, longSamples: "error" },
        ).plan(window),
      ),
    );
    expect(new Set(ranks.map(({ batches }) => batches.length)).size).toBe(1);
    expect(new Set(ranks.map(({ waiting }) => waiting.join())).size).toBe(1);
    const seen = [...ranks.flatMap(({ batches }) => batches.flat()), ranks[0]!.waiting].flatMap((list) =>
      Array.from(list),
    );
    expect(seen.sort((a, b) => a - b)).toEqual(Array.from(lengths.keys()));
  });

  it.each([
    [{}, "multipack has no capacity: expected packing_capacity, the tokens of a batch"],
    [{ capacity: 3, rows: 4 }, "expected tokens from 4 on: one for each row, found 3"],
  ])("refuses %j", (settings, message) => {
    expect(() => createMultipackPlanner(input, { longSamples: "error", ...settings })).toThrow(message);
  });
});
