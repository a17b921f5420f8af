import { describe, expect, it } from "vitest";
import { collate, type CollatorOptions, type Sample } from "../../src/data/index.ts";
import { errorOf, readFixture } from "./fixtures.ts";

interface Case {
  padding_side: "right" | "left";
  pad_token_id: number;
  options: {
    padding: true | "max_length";
    max_length?: number;
    pad_to_multiple_of?: number;
    label_pad_token_id?: number;
  };
  features: { input_ids: number[]; labels?: number[] }[];
  result: Record<"input_ids" | "attention_mask" | "labels", { shape: [number, number]; data: number[][] }>;
}

const { padding } = readFixture("data/flattening.json") as { padding: Case[] };

function sampleOf({ input_ids, labels }: Case["features"][number]): Sample {
  return { inputIds: Int32Array.from(input_ids), labels: Int32Array.from(labels ?? input_ids) };
}

function rowsOf(values: Int32Array, [rows, width]: readonly [number, number]): number[][] {
  return Array.from({ length: rows }, (_, row) => Array.from(values.subarray(row * width, (row + 1) * width)));
}

describe("collate", () => {
  const named = padding.map((test, i) => {
    const lengths = test.features.map(({ input_ids }) => input_ids.length);
    return [`${i}: ${test.padding_side}, lengths ${lengths.join(" ")}, ${JSON.stringify(test.options)}`, test] as const;
  });

  it.each(named)("as DataCollatorForSeq2Seq %s", (_name, test) => {
    const options: CollatorOptions = {
      padTokenId: test.pad_token_id,
      paddingSide: test.padding_side,
      padToMultipleOf: test.options.pad_to_multiple_of,
      padToWidth: test.options.max_length,
      labelPadTokenId: test.options.label_pad_token_id,
    };
    const samples = test.features.map(sampleOf);
    const batch = collate(samples, options);
    expect(batch.shape).toEqual(test.result.input_ids.shape);
    expect(rowsOf(batch.inputIds, batch.shape)).toEqual(test.result.input_ids.data);
    expect(rowsOf(batch.attentionMask, batch.shape)).toEqual(test.result.attention_mask.data);
    const lengths = samples.map((sample) => sample.inputIds.length);
    const tokens = lengths.reduce((sum, length) => sum + length, 0);
    expect(batch.tokens).toBe(tokens);
    expect(batch.paddingTokens).toBe(batch.shape[0] * batch.shape[1] - tokens);
    if (test.features[0]?.labels === undefined) return;
    const expected = test.result.labels.data.map((row) => [...row]);
    if (test.padding_side === "left") {
      // The reference would train a sample's first token from the padding before it, and only where others are longer. The first
      // token of a sample is never a target here, on either side.
      for (const [i, row] of expected.entries()) {
        const start = batch.shape[1] - lengths[i]!;
        if (start > 0) row[start] = options.labelPadTokenId ?? -100;
      }
    }
    expect(rowsOf(batch.labels, batch.shape)).toEqual(expected);
    const ignored = new Set([-100, options.labelPadTokenId]);
    const trainable = expected.flatMap((row) => row.slice(1)).filter((label) => !ignored.has(label)).length;
    expect(batch.trainableTokens).toBe(trainable);
  });

  it("keeps the labels of real tokens that have the id of padding", () => {
    const eos = 2;
    const sample = { inputIds: Int32Array.of(5, 6, eos), labels: Int32Array.of(-100, 6, eos) };
    const longer = { inputIds: Int32Array.of(1, 2, 3, 4), labels: Int32Array.of(-100, -100, 3, 4) };
    const batch = collate([sample, longer], { padTokenId: eos });
    expect(Array.from(batch.labels)).toEqual([-100, 6, eos, -100, -100, -100, 3, 4]);
    expect(Array.from(batch.attentionMask)).toEqual([1, 1, 1, 0, 1, 1, 1, 1]);
    expect(batch.trainableTokens).toBe(4);
  });

  it("refuses what makes no batch", async () => {
    const empty = { inputIds: new Int32Array(0), labels: new Int32Array(0) };
    const three = { inputIds: new Int32Array(3), labels: new Int32Array(3) };
    const wrong = { inputIds: new Int32Array(3), labels: new Int32Array(2) };
    const messages: [Sample[], CollatorOptions, RegExp][] = [
      [[], { padTokenId: 0 }, /no samples/],
      [[three, empty], { padTokenId: 0 }, /empty sample/],
      [[wrong], { padTokenId: 0 }, /labels do not fit its ids: expected 3 labels, found 2/],
      [[three], { padTokenId: 0, padToWidth: 2 }, /wider than its batch: expected at most 2 tokens, found 3/],
    ];
    for (const [samples, options, message] of messages) {
      expect((await errorOf(() => collate(samples, options))).message).toMatch(message);
    }
  });
});
