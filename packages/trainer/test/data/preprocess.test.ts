import { describe, expect, it } from "vitest";
import {
  DatasetError,
  InMemoryDataset,
  loadDataset,
  preprocessDataset,
  type PreprocessOptions,
  type Row,
  type TokenizedDataset,
} from "../../src/data/index.ts";
import { trainedText } from "./answers.ts";
import { errorOf, fixture } from "./fixtures.ts";
import { byteLevel, load, sentencepieceLike } from "./tokenizers.ts";

function run(rows: Row[], options: PreprocessOptions = {}): Promise<TokenizedDataset> {
  return preprocessDataset(new InMemoryDataset(rows, "rows"), byteLevel, options);
}

/** Pretokenised rows of these lengths; all labels but the first are trained. */
const rowsOf = (...lengths: number[]): Row[] =>
  lengths.map((length) => {
    const ids = Array.from({ length }, (_, i) => i + 1);
    return { input_ids: ids, labels: ids.map((id, i) => (i === 0 ? -100 : id)) };
  });

describe("long, empty and untrainable samples", () => {
  it("truncates, drops the empty, keeps the untrainable, and counts", async () => {
    using samples = await run([...rowsOf(3, 9, 0, 5, 12, 1), { input_ids: [1, 2], labels: [1, -100] }], {
      maxSeqLength: 5,
    });
    expect(Array.from(samples.lengths)).toEqual([3, 5, 5, 5, 1, 2]);
    expect([0, 1, 2, 3, 4, 5].map((i) => samples.sourceRow(i))).toEqual([0, 1, 3, 4, 5, 6]);
    expect(Array.from(samples.sample(1).labels)).toEqual([-100, 2, 3, 4, 5]);
    const { report } = samples;
    expect(report).toMatchObject({ rows: 7, samples: 6, tokens: 21, trainableTokens: 14, truncatedTokens: 11 });
    expect(report.count("truncated")).toEqual({ count: 2, firstRows: [1, 4] });
    expect(report.lines()).toEqual([
      "6 samples of 7 rows, 21 tokens, 14 of them trained",
      "2 longer than max_seq_length: truncated (11 tokens cut off); rows 1, 4",
      "1 without tokens: dropped; rows 2",
      "2 without a trainable token: kept, they add nothing to the loss; rows 5, 6",
    ]);
  });

  it("drops when asked to", async () => {
    const options = { maxSeqLength: 5, longSamples: "drop", untrainableSamples: "drop" } as const;
    using samples = await run(rowsOf(3, 9, 5, 1, 4), options);
    expect(Array.from(samples.lengths)).toEqual([3, 5, 4]);
    expect(samples.report.count("long-dropped")).toEqual({ count: 1, firstRows: [1] });
    expect(samples.report.count("untrainable-dropped")).toEqual({ count: 1, firstRows: [3] });
  });

  it.each([
    [
      rowsOf(3, 9),
      { maxSeqLength: 5, longSamples: "error" },
      "rows, row 1: longer than max_seq_length: 9 tokens, 5 allowed",
    ],
    [rowsOf(3, 0), { emptySamples: "error" }, "rows, row 1: no tokens"],
    [rowsOf(3, 4, 1), { untrainableSamples: "error" }, "rows, row 2: no trainable token"],
    [
      rowsOf(0, 0),
      {},
      "no samples are left: found 0 samples of 2 rows, 0 tokens, 0 of them trained; 2 without tokens: dropped; rows 0, 1",
    ],
    [rowsOf(1), { maxSeqLength: 0 }, "max_seq_length is not usable: expected an integer from 1, found 0"],
    [
      rowsOf(1),
      { longSamples: "cut" } as never,
      'long_samples is not usable: expected error, truncate, split, drop, found "cut"',
    ],
  ] as [Row[], PreprocessOptions, string][])("is an error when asked for: %#", async (rows, options, message) => {
    const error = await errorOf(() => run(rows, options));
    expect(error).toBeInstanceOf(DatasetError);
    expect(error.message).toBe(message);
  });

  it("names the first eight rows of many", async () => {
    using samples = await run(rowsOf(...Array.from({ length: 200 }, () => 7)), { maxSeqLength: 6 });
    expect(samples.report.lines()[1]).toBe(
      "200 longer than max_seq_length: truncated (200 tokens cut off); rows 0, 1, 2, 3, 4, 5, 6, 7, …",
    );
  });

  it("takes the tokenizer's limit where it is lower", async () => {
    const tokenizer = await load("byte-level");
    tokenizer.modelMaxLength = 4;
    using samples = await preprocessDataset(new InMemoryDataset(rowsOf(9)), tokenizer, { maxSeqLength: 6 });
    expect(samples.lengths[0]).toBe(4);
    expect(samples.report.notes).toEqual(["max_seq_length 6 is above the tokenizer's model_max_length: 4 is used"]);
  });
});

describe("pretokenised rows", () => {
  it("need no tokenizer, and labels only if they are there", async () => {
    using samples = await preprocessDataset(new InMemoryDataset([{ input_ids: [5, 6, 7] }]), undefined);
    expect(samples.sample(0)).toEqual({ inputIds: Int32Array.of(5, 6, 7), labels: Int32Array.of(5, 6, 7) });
    expect(samples.report.trainableTokens).toBe(2);
    const text = new InMemoryDataset([{ prompt: "a", completion: "b" }]);
    expect((await errorOf(() => preprocessDataset(text, undefined))).message).toBe(
      "data of the format pairs needs a tokenizer",
    );
  });

  it("lose padding that they bring", async () => {
    const rows = [
      { input_ids: [0, 0, 5, 6, 7, 0], labels: [-100, -100, -100, 6, 7, -100], attention_mask: [0, 0, 1, 1, 1, 0] },
      { input_ids: [1, 2], labels: [1, 2], attention_mask: [0, 0] },
      { input_ids: [1, 2], labels: [1, 2], attention_mask: [1, 1] },
    ];
    using samples = await run(rows);
    expect(samples.sample(0)).toEqual({ inputIds: Int32Array.of(5, 6, 7), labels: Int32Array.of(-100, 6, 7) });
    expect(samples.length).toBe(2);
    expect(samples.report.count("padding-removed").count).toBe(1);
    expect(samples.report.count("empty").count).toBe(1);
  });

  it.each([
    [
      { input_ids: "text" },
      'row 1, column "input_ids": wrong type: expected a list of integers, found a string ("text")',
    ],
    [
      { input_ids: [1, 2.5] },
      'row 1, column "input_ids": item 1 is not usable: expected an integer from 0 to 99, found a number (2.5)',
    ],
    [
      { input_ids: [1, 100] },
      'row 1, column "input_ids": item 1 is not usable: expected an integer from 0 to 99, found a number (100)',
    ],
    [
      { input_ids: [1, -1] },
      'row 1, column "input_ids": item 1 is not usable: expected an integer from 0 to 99, found a number (-1)',
    ],
    [
      { input_ids: [1, null] },
      'row 1, column "input_ids": item 1 is not usable: expected an integer from 0 to 99, found null',
    ],
    [{ input_ids: null }, 'row 1, column "input_ids": wrong type: expected a list of integers, found null'],
    [{ labels: [1] }, 'row 1, column "input_ids": no such column in this row: found "labels", "attention_mask"'],
    [
      { input_ids: [1, 2], labels: [1] },
      'row 1, column "labels": wrong length: expected 2 items, as in input_ids, found 1',
    ],
    [
      { input_ids: [1, 2], labels: [1, -5] },
      'row 1, column "labels": item 1 is not usable: expected -100 or a token id, found -5',
    ],
    [
      { input_ids: [1, 2], labels: [1, 2], attention_mask: [1, 2] },
      'row 1, column "attention_mask": item 1 is not usable: expected an integer from 0 to 1, found a number (2)',
    ],
    [
      { input_ids: [1, 2, 3], labels: [1, 2, 3], attention_mask: [1, 0, 1] },
      'row 1, column "attention_mask": a hole in the mask: expected 0 at the ends only, for padding, found 0 at item 1',
    ],
  ] as [Row, string][])("%j is an error", async (row, message) => {
    const good = { input_ids: [1], labels: [1], attention_mask: [1] };
    const bad = { labels: [], attention_mask: [], ...row };
    const error = await errorOf(() => run([good, bad], { vocabSize: 100 }));
    expect(error.message).toBe(`rows, ${message}`);
  });
});

describe("texts", () => {
  it("end with one end-of-sequence token, and say where they had one already", async () => {
    using samples = await run([{ text: "a: b" }, { text: "a: b</s>" }], {
      datasetTextField: "text",
      responseTemplate: "a:",
    });
    expect([0, 1].map((i) => samples.sample(i).labels.filter((label) => label === 2).length)).toEqual([1, 2]);
    expect(samples.report.count("eos-twice")).toEqual({ count: 1, firstRows: [1] });
  });

  it("say when a text brings the token that the tokenizer puts in front", async () => {
    const dataset = new InMemoryDataset([{ text: "<s>a: b" }]);
    const options = { datasetTextField: "text", responseTemplate: "a:" };
    using samples = await preprocessDataset(dataset, sentencepieceLike, options);
    expect(samples.report.count("bos-twice").count).toBe(1);
  });

  it("count rows without their keys, and are deterministic", async () => {
    const rows = Array.from({ length: 300 }, (_, i) => ({
      text: i % 100 === 7 ? "nothing here" : `Question ${i} ### Response: ${i} 🙂 yes`,
    }));
    const options = { datasetTextField: "text", responseTemplate: "### Response:" };
    using samples = await run(rows, options);
    expect(samples.report.count("response-missing")).toEqual({ count: 3, firstRows: [7, 107, 207] });
    expect(samples.report.count("untrainable").count).toBe(3);
    expect(trainedText("byte-level", samples.sample(250).labels)).toBe("250🙂yes</s>");
    using again = await run(rows, options);
    for (let i = 0; i < 300; i++) expect(again.sample(i)).toEqual(samples.sample(i));
  });

  it("name the row whose column is missing or of another type", async () => {
    const good = Array.from({ length: 100 }, () => ({ prompt: "a", completion: "b" }));
    const missing = await errorOf(() => run([...good, { prompt: "a" }, { prompt: 1, completion: "b" }]));
    expect(missing.message).toBe('rows, row 100, column "completion": no such column in this row: found "prompt"');
    const wrong = await errorOf(() => run([...good, { prompt: 1, completion: "b" }, { prompt: "a" }]));
    expect(wrong.message).toBe('rows, row 100, column "prompt": wrong type: expected a string, found a number (1)');
  });

  it("come from every kind of file alike", async () => {
    const all = await Promise.all(
      ["none.parquet", "zstd.parquet", "stream.arrow", "file.arrow"].map(async (name) => {
        using samples = await preprocessDataset(await loadDataset(fixture(`data/files/${name}`)), byteLevel);
        expect(samples.format).toEqual({ kind: "pretokenized", labels: true, attentionMask: false });
        return Array.from({ length: samples.length }, (_, i) => samples.sample(i));
      }),
    );
    expect(all[0]).toHaveLength(50);
    for (const other of all.slice(1)) expect(other).toEqual(all[0]);
  });
});
