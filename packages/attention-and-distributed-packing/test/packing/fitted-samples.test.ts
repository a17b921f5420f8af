import { DatasetError } from "@fms-accel/trainer";
import { describe, expect, it } from "vitest";
import { describeLongSamples, FittedSamples } from "../../src/index.ts";

/** Samples of the given lengths; the ids of sample i are 100 · i + its positions. */
function source(lengths: readonly number[]) {
  const samples = lengths.map((length, i) => {
    const inputIds = Int32Array.from({ length }, (_, at) => 100 * i + at);
    return { inputIds, labels: inputIds.map((id) => (id % 2 === 0 ? -100 : id)) };
  });
  return { length: samples.length, sample: (index: number) => samples[index]! };
}

const lengths = [3, 9, 4, 8];

function idsOf(fitted: FittedSamples): number[][] {
  return Array.from({ length: fitted.length }, (_, i) => Array.from(fitted.sample(i).inputIds));
}

describe("samples above the capacity", () => {
  const fit = (policy: "error" | "truncate" | "split" | "drop"): FittedSamples =>
    new FittedSamples(source(lengths), Int32Array.from(lengths), 4, policy);

  it("are refused with what there is to do", () => {
    expect(() => fit("error")).toThrow(DatasetError);
    expect(() => fit("error")).toThrow(
      "2 of 4 samples are longer than a batch may be: expected at most 4 tokens, found 9 tokens in sample 1, up to 9 in all; " +
        "raise the capacity of a batch, or of each of its rows, to 9, or say what to do with them: long_samples truncate, split or drop",
    );
  });

  it("are truncated", () => {
    const fitted = fit("truncate");
    expect(idsOf(fitted)).toEqual([
      [0, 1, 2],
      [100, 101, 102, 103],
      [200, 201, 202, 203],
      [300, 301, 302, 303],
    ]);
    expect(Array.from(fitted.lengths)).toEqual([3, 4, 4, 4]);
    expect(describeLongSamples(fitted.report)).toBe(
      "2 samples longer than 4 tokens: truncated (9 tokens cut off); samples 1, 3.",
    );
  });

  it("are split, with their labels", () => {
    const fitted = fit("split");
    expect(idsOf(fitted).slice(1, 4)).toEqual([[100, 101, 102, 103], [104, 105, 106, 107], [108]]);
    expect(Array.from(fitted.sample(2).labels)).toEqual([-100, 105, -100, 107]);
    expect([0, 1, 2, 3, 4, 5, 6].map((piece) => fitted.sourceSample(piece))).toEqual([0, 1, 1, 1, 2, 3, 3]);
    expect(fitted.report).toMatchObject({ long: 2, pieces: 5, lostTokens: 0 });
    expect(describeLongSamples(fitted.report)).toBe(
      "2 samples longer than 4 tokens: split into 5 pieces; samples 1, 3.",
    );
  });

  it("are dropped, but not all of them", () => {
    const fitted = fit("drop");
    expect(idsOf(fitted)).toEqual([
      [0, 1, 2],
      [200, 201, 202, 203],
    ]);
    expect(fitted.report).toMatchObject({ long: 2, lostTokens: 17 });
    expect(() => new FittedSamples(source([9]), Int32Array.of(9), 4, "drop")).toThrow(
      "no samples are left: expected samples of at most 4 tokens, found 1 longer ones, all dropped",
    );
  });
});

it("leaves a data set alone that fits, whatever the policy", () => {
  const data = source([3, 4]);
  const fitted = new FittedSamples(data, Int32Array.of(3, 4), 4, "error");
  expect(fitted.sample(1)).toBe(data.sample(1));
  expect(describeLongSamples(fitted.report)).toBeUndefined();
});

it.each([0, 2.5, Number.NaN])("refuses a capacity of %f", (capacity) => {
  expect(() => new FittedSamples(source([3]), Int32Array.of(3), capacity, "split")).toThrow(
    "the capacity of a batch is not usable",
  );
});

it("refuses a policy that there is not", () => {
  expect(() => new FittedSamples(source([3]), Int32Array.of(3), 4, "cut" as never)).toThrow(
    "long_samples is not usable: expected error, truncate, split, drop, found cut",
  );
});
