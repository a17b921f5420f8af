/**
 * The recorded batches of TRL's collator. Flattened ones are the same but for padding to a multiple: TRL makes each pad a sequence of its own, ours
 * has none. Packed rows that TRL pads keep the borders' labels, which train one sample to begin behind another; ours mask them.
 */
import { readJsonFixture } from "@fms-accel/test-utilities";
import { collate, IGNORE_INDEX, type Sample } from "@fms-accel/trainer";
import { describe, expect, it } from "vitest";
import { collatePackedRows, flattenSamples } from "../../src/index.ts";

interface TrlCase {
  readonly pad_token_id: number;
  readonly options: {
    readonly padding_free?: boolean;
    readonly pad_to_multiple_of?: number;
    readonly return_position_ids?: boolean;
  };
  readonly features: readonly {
    readonly input_ids: readonly number[];
    readonly labels: readonly number[];
    readonly seq_lengths?: readonly number[];
  }[];
  readonly result: Readonly<Record<string, { readonly shape: number[]; readonly data: unknown }>>;
}

const { trl_collator: cases } = readJsonFixture<{ trl_collator: TrlCase[] }>("data/flattening.json");

/** The samples of every row. */
function rowsOf({ features }: TrlCase): Sample[][] {
  return features.map(({ input_ids: ids, labels, seq_lengths: lengths = [ids.length] }) => {
    let start = 0;
    return lengths.map((length) => {
      const part = (from: readonly number[]): Int32Array => Int32Array.from(from.slice(start, start + length));
      const sample = { inputIds: part(ids), labels: part(labels) };
      start += length;
      return sample;
    });
  });
}

const numbers = (field: { readonly data: unknown } | undefined): number[] => [field?.data].flat(3) as number[];
const named = cases.map((c, index) => [`${index}: ${JSON.stringify(c.options)}`, c] as const);

describe("without padding", () => {
  it.each(named.filter(([, { options }]) => options.padding_free === true))("%s", (_, c) => {
    const batch = flattenSamples(rowsOf(c).flat());
    const tokens = batch.shape[1];
    const pads = numbers(c.result["input_ids"]).length - tokens;
    expect(pads > 0).toBe(c.options.pad_to_multiple_of !== undefined);
    for (const [name, values] of [
      ["input_ids", batch.inputIds],
      ["labels", batch.labels],
      ["position_ids", batch.positionIds],
    ] as const)
      expect(Array.from(values), name).toEqual(numbers(c.result[name]).slice(0, tokens));
    const sequences = numbers(c.result["cu_seq_lens_q"]);
    expect(Array.from(batch.cuSeqlens)).toEqual(sequences.slice(0, sequences.length - pads));
  });
});

describe("padded", () => {
  it.each(named.filter(([, { options }]) => options.padding_free !== true))("%s", (_, c) => {
    const { pad_to_multiple_of: padToMultipleOf } = c.options;
    const rows = rowsOf(c);
    const isPacked = c.features.some(({ seq_lengths: lengths }) => lengths !== undefined);
    const width = c.result["input_ids"]!.shape[1]!;
    const packed = collatePackedRows(rows, { padTokenId: c.pad_token_id, width });
    const expected = numbers(c.result["labels"]);
    expect(Array.from(packed.inputIds)).toEqual(numbers(c.result["input_ids"]));
    expect(Array.from(packed.attentionMask!)).toEqual(numbers(c.result["attention_mask"]));
    if (c.options.return_position_ids === true)
      expect(Array.from(packed.positionIds!)).toEqual(numbers(c.result["position_ids"]));
    const isStart = (at: number): boolean => packed.attentionMask![at] === 1 && packed.positionIds![at] === 0;
    expect(Array.from(packed.labels)).toEqual(expected.map((label, at) => (isStart(at) ? IGNORE_INDEX : label)));
    if (isPacked) return;
    const side = collate(rows.flat(), { padTokenId: c.pad_token_id, padToMultipleOf });
    expect(Array.from(side.inputIds)).toEqual(numbers(c.result["input_ids"]));
    expect(Array.from(side.labels)).toEqual(expected);
    expect(Array.from(side.attentionMask)).toEqual(numbers(c.result["attention_mask"]));
  });
});
