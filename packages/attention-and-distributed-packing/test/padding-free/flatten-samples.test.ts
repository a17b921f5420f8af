import { DatasetError, type Sample } from "@fms-accel/trainer";
import { readJsonFixture } from "@fms-accel/test-utilities";
import { describe, expect, test } from "vitest";
import { flattenSamples } from "../../src/padding-free/flatten-samples.ts";

interface Field {
  readonly data: unknown;
}
interface FlatteningCase {
  readonly batch: string;
  readonly lengths: readonly number[];
  readonly options: {
    readonly separator_id?: number;
    readonly position_ids_start?: number;
    readonly return_position_ids?: boolean;
  };
  readonly features: readonly { readonly input_ids: readonly number[]; readonly labels?: readonly number[] }[];
  readonly result: Readonly<Record<string, Field | number>>;
}

const { flattening } = readJsonFixture<{ flattening: FlatteningCase[] }>("data", "flattening.json");
const samples = (c: FlatteningCase): Sample[] =>
  c.features.map(({ input_ids, labels }) => ({
    inputIds: Int32Array.from(input_ids),
    labels: Int32Array.from(labels ?? input_ids),
  }));

describe("DataCollatorWithFlattening's batches", () => {
  test.each(flattening.map((c, i) => [`${i}: ${c.batch} ${JSON.stringify(c.options)}`, c] as const))("%s", (_, c) => {
    const { separator_id, position_ids_start } = c.options;
    const flatten = () =>
      flattenSamples(samples(c), {
        ...(separator_id !== undefined && { separatorId: separator_id }),
        ...(position_ids_start !== undefined && { positionIdsStart: position_ids_start }),
      });
    if (c.lengths.includes(0)) {
      // The reference makes one label more than there are tokens.
      expect(flatten).toThrow(DatasetError);
      expect(flatten).toThrow("an empty sample");
      return;
    }
    const batch = flatten();
    const ours: Record<string, unknown> = {
      input_ids: [[...batch.inputIds]],
      labels: [[...batch.labels]],
      position_ids: [[...batch.positionIds]],
      seq_idx: [[...batch.sequenceIds]],
      cu_seq_lens_q: [...batch.cuSeqlens],
      cu_seq_lens_k: [...batch.cuSeqlens],
      max_length_q: batch.maxLength,
      max_length_k: batch.maxLength,
    };
    expect(Object.keys(c.result).length).toBeGreaterThanOrEqual(2);
    for (const [name, expected] of Object.entries(c.result)) {
      expect(ours[name], name).toEqual(typeof expected === "number" ? expected : expected.data);
    }
    const total = c.lengths.reduce((sum, length) => sum + length, 0);
    expect(batch.shape).toEqual([1, total]);
    expect(batch.tokens).toBe(total);
  });
});

test("trainable tokens are those of the samples alone", () => {
  const sample = (...labels: number[]): Sample => ({
    inputIds: Int32Array.from(labels, () => 7),
    labels: Int32Array.from(labels),
  });
  const batch = flattenSamples([sample(1, 2, 3), sample(-100, -100, 4), sample(5), sample(-100, 6)]);
  expect(batch.trainableTokens).toBe(2 + 1 + 0 + 1);
  expect(batch.labels.slice(1).filter((label) => label !== -100).length).toBe(batch.trainableTokens);
});

test("samples that make no batch are refused", () => {
  expect(() => flattenSamples([])).toThrow("no samples");
  const torn = { inputIds: new Int32Array(3), labels: new Int32Array(2) };
  expect(() => flattenSamples([torn])).toThrow("a sample's labels do not fit its ids");
});
