/** Best-fit decreasing is TRL's `bfd`: the recorded rows, and what becomes of samples that are too long. */
import { readJsonFixture } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import {
  bestFit,
  FittedSamples,
  listAt,
  listCount,
  longestFirst,
  runAtOnce,
  type SampleLists,
} from "../../src/index.ts";

interface PackCase {
  readonly name: string;
  readonly lengths: readonly number[];
  readonly seq_length: number;
  readonly strategy: string;
  readonly result?: { readonly input_ids: number[][] };
  readonly lost_tokens?: number;
}

const { pack_dataset: cases } = readJsonFixture<{ pack_dataset: PackCase[] }>("data/flattening.json");
const policies = { bfd: "truncate", bfd_split: "split" } as const;

function decreasing(lengths: Int32Array, capacity: number): SampleLists {
  const order = Int32Array.from(lengths.keys());
  return runAtOnce(bestFit(runAtOnce(longestFirst(order, lengths)), lengths, capacity));
}

describe.each(cases.filter(({ strategy, result }) => strategy in policies && result !== undefined))(
  "$name, $strategy",
  ({ lengths, seq_length: capacity, strategy, result, lost_tokens: lostTokens }) => {
    it("packs the rows of TRL", () => {
      // As in the fixture, tokens are numbered through, and samples without tokens are left out.
      let next = 100;
      const samples = lengths
        .map((length) => Int32Array.from({ length }, () => next++))
        .filter(({ length }) => length > 0)
        .map((ids) => ({ inputIds: ids, labels: ids }));
      const source = { length: samples.length, sample: (index: number) => samples[index]! };
      const sizes = Int32Array.from(samples, ({ inputIds }) => inputIds.length);
      const fitted = new FittedSamples(source, sizes, capacity, policies[strategy as keyof typeof policies]);
      const rows = decreasing(fitted.lengths, capacity);
      const ids = Array.from({ length: listCount(rows) }, (_, row) =>
        Array.from(listAt(rows, row)).flatMap((sample) => Array.from(fitted.sample(sample).inputIds)),
      );
      expect(ids).toEqual(result?.input_ids);
      expect(fitted.report.lostTokens).toBe(lostTokens);
    });
  },
);

const { pack_dataset: earlier } = readJsonFixture<{ pack_dataset: PackCase[] }>("data/packing-trl019.json");

describe("beside the first-fit of TRL 0.19, the release that fms-hf-tuning pins", () => {
  const comparable = earlier.filter(({ strategy, result }) => strategy === "ffd" && result !== undefined);

  it.each(comparable)("$name: never more rows, and the same tokens cut off", (recorded) => {
    const { lengths, seq_length: capacity, result, lost_tokens: lostTokens } = recorded;
    const source = { length: lengths.length, sample: () => ({ inputIds: new Int32Array(), labels: new Int32Array() }) };
    const fitted = new FittedSamples(source, Int32Array.from(lengths), capacity, "truncate");
    expect(fitted.report.lostTokens).toBe(lostTokens);
    expect(listCount(decreasing(fitted.lengths, capacity))).toBeLessThanOrEqual(result!.input_ids.length);
  });

  it("is not misled by equal lengths", () => {
    expect(comparable.find(({ name }) => name === "ties")?.result?.input_ids).toHaveLength(8);
    expect(listCount(decreasing(Int32Array.of(3, 3, 3, 2, 2, 2, 1, 1, 1), 5))).toBe(4);
  });
});
