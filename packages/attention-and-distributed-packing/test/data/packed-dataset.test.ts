/** functionary's packed data sets: rows, masks, labels, statistics and what its unpadding makes of them. */
import { readJsonFixture } from "@fms-accel/test-utilities";
import { BatchPlan, RandomSampler } from "@fms-accel/trainer";
import { describe, expect, it } from "vitest";
import { blockCausalMask, PackedDataset, unpadSequences } from "../../src/index.ts";

interface Point {
  readonly input_ids: number[];
  readonly attention_mask: number[];
  readonly labels?: number[];
}

interface PackedCase {
  readonly padding_side: "left" | "right";
  readonly pad_token_id: number;
  readonly max_input_length: number;
  readonly pack_length: number;
  readonly max_packed_size: number;
  readonly dataset: readonly Point[];
  readonly groups: number[][];
  readonly lengths: number[];
  readonly stat_output: string;
  readonly items: readonly { input_ids: number[]; attention_mask: number[]; labels: number[] }[];
  readonly masks_0_1: number[][][];
  readonly loss_tokens: number;
}

interface PackingFixture {
  readonly packed_datasets: readonly PackedCase[];
  readonly unpad: readonly {
    readonly attention_mask: number[][];
    readonly indices: number[];
    readonly cu_seqlens: number[];
    readonly max_seqlen: number;
  }[];
}

async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const fixture = readJsonFixture<PackingFixture>("data/packing.json");

function points(dataset: readonly Point[]) {
  return dataset.map(({ input_ids, attention_mask, labels }) => ({
    inputIds: input_ids,
    attentionMask: attention_mask,
    labels,
  }));
}

describe.each(fixture.packed_datasets.map((one, index) => ({ ...one, index })))("packed data set $index", (one) => {
  const packed = new PackedDataset(
    points(one.dataset),
    { padTokenId: one.pad_token_id, paddingSide: one.padding_side },
    one.max_input_length,
    { groupLength: one.pack_length === -1 ? undefined : one.pack_length, maxPackedSize: one.max_packed_size },
  );

  it("has the rows of the original", () => {
    expect(Array.from(packed.lengths)).toEqual(one.lengths);
    expect(packed.groups.map((group) => Array.from(group))).toEqual(one.groups);
    for (const [index, item] of one.items.entries()) {
      const { inputIds, attentionMask, labels } = packed.item(index);
      expect(Array.from(inputIds)).toEqual(item.input_ids);
      expect(Array.from(attentionMask)).toEqual(item.attention_mask);
      expect(Array.from(labels)).toEqual(item.labels);
    }
    expect(packed.stat()).toBe(one.stat_output);
  });

  it("sees within a data point only, whatever block of queries is asked for", () => {
    for (const [index, rows] of one.masks_0_1.entries()) {
      const { attentionMask } = packed.item(index);
      expect(Array.from(blockCausalMask(attentionMask))).toEqual(rows.flat());
      const middle = rows.length >> 1;
      expect(Array.from(blockCausalMask(attentionMask, 1, middle))).toEqual(rows.slice(1, middle).flat());
    }
  });

  it("makes batches with as many targets as the data points have", () => {
    const { trainableTokens, tokens, samples } = packed.batch(Array.from(packed.groups.keys()));
    expect(trainableTokens).toBe(one.loss_tokens);
    expect(tokens).toBe(one.lengths.reduce((a, b) => a + b, 0));
    expect(samples).toBe(one.dataset.length);
  });
});

it.each(fixture.unpad)("finds the sequences of $cu_seqlens", ({ attention_mask, indices, cu_seqlens, max_seqlen }) => {
  const found = unpadSequences(attention_mask.flat(), attention_mask[0]?.length ?? 0);
  expect(Array.from(found.indices)).toEqual(indices);
  expect(Array.from(found.cuSeqlens)).toEqual(cu_seqlens);
  expect(found.maxSeqlen).toBe(max_seqlen);
});

describe("a packed data set", () => {
  const three = [3, 7, 4].map((length) => ({ inputIds: Array.from({ length }, (_, t) => t + 1) }));
  const tokenizer = { padTokenId: 0 };

  it("trains every token but the first where there are no labels, also those that look like padding", () => {
    const packed = new PackedDataset([{ inputIds: [5, 0, 0] }], { padTokenId: 0 }, 4);
    expect(Array.from(packed.item(0).labels)).toEqual([-100, 0, 0, -100]);
  });

  it("refuses what does not fit", () => {
    expect(() => new PackedDataset(three, tokenizer, 8, { groupLength: 5 })).toThrow(
      "a data point is too long to be packed: expected at most 5 tokens, the length of a pack, found 7 in data point 1",
    );
    // The original accepts this and fails without a word when the row is read.
    expect(() => new PackedDataset(three, tokenizer, 8, { groupLength: 16 })).toThrow(
      "groupLength is not usable: expected 1 to 8 tokens, the width of a row, found 16",
    );
    expect(() => new PackedDataset([{ inputIds: [1, 2], labels: [1] }], tokenizer, 8)).toThrow(
      "labels of data point 0 does not fit its token ids: expected 2, one for each token id, found 1",
    );
    expect(() => new PackedDataset([{ inputIds: [1, 2, 3], attentionMask: [1, 0, 1] }], tokenizer, 8)).toThrow(
      "the mask of data point 0 is not usable",
    );
    expect(() => new PackedDataset(three, tokenizer, 8).item(9)).toThrow(
      "no such row: expected a row from 0 to 2, found 9",
    );
  });

  it("is loaded by rows, every row once an epoch", async () => {
    const packed = new PackedDataset(three, tokenizer, 7);
    const loader = packed.loader(new BatchPlan(new RandomSampler(packed.length, 1), { batchSize: 2 }));
    const batches = await collect(loader.batches(0, 0));
    expect(batches.map(({ samples }) => samples)).toEqual([2, 1]);
    expect(batches.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(14);
    expect(await collect(loader.batches(0, 1))).toEqual(batches.slice(1));
  });
});
