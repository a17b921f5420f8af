/** Ranks that share the making of tokens: each makes its part, and all have the same samples and the same report as one that made all. */
import { meetingRanks } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import {
  createSampleReader,
  DatasetError,
  InMemoryDataset,
  preprocessDataset,
  shareReading,
  type Communicator,
  type Row,
  type RowSamples,
  type SampleReaderOptions,
} from "../../src/index.ts";

/** Row i is i % 9 tokens, some of them not trained: row 0, 9, … are empty. */
const rows = (count: number): Row[] =>
  Array.from({ length: count }, (_, i) => ({
    input_ids: Array.from({ length: i % 9 }, (__, k) => i + k),
    labels: Array.from({ length: i % 9 }, (__, k) => (k < i % 4 ? -100 : i + k)),
  }));

/** Counts the rows that are read from it. */
class CountedDataset extends InMemoryDataset {
  read: number[] = [];

  override async *rows(start?: number, end?: number): AsyncGenerator<Row> {
    let index = start ?? 0;
    for await (const row of super.rows(start, end)) {
      this.read.push(index++);
      yield row;
    }
  }
}

async function readAll(
  data: readonly Row[],
  options: SampleReaderOptions,
  communicator: Communicator,
  from = 0,
): Promise<{ found: RowSamples[]; lines: string[]; read: number[] }> {
  const dataset = new CountedDataset(data);
  const reader = shareReading(createSampleReader(dataset, undefined, options), data.length, communicator);
  const found: RowSamples[] = [];
  for await (const block of reader.read(from)) {
    for (const { row, samples } of block)
      found.push({ row, samples: samples.map(({ inputIds, labels }) => ({ inputIds, labels })) });
  }
  return { found, lines: reader.report.lines(), read: dataset.read };
}

const alone: Communicator = meetingRanks(1)[0]!;

describe.each([2, 3, 5])("%i ranks", (size) => {
  it.each([
    [2, {}],
    [1, {}],
    [63, {}],
    [200, { maxSeqLength: 4 }],
    [1000, { maxSeqLength: 4, longSamples: "split" }],
    [1000, { maxSeqLength: 6, longSamples: "drop", untrainableSamples: "drop" }],
  ] as const)("%i rows, %j: every row is read once, and every rank has what one alone has", async (count, options) => {
    const data = rows(count);
    for (const from of [0, Math.floor(count / 3)]) {
      const expected = await readAll(data, options, alone, from);
      const ranks = await Promise.all(meetingRanks(size).map((one) => readAll(data, options, one, from)));
      for (const { found, lines } of ranks) {
        expect(found).toEqual(expected.found);
        if (count > from) expect(lines).toEqual(expected.lines);
      }
      const read = ranks.flatMap((rank) => rank.read);
      expect(read.sort((a, b) => a - b)).toEqual(expected.read);
      if (count >= 1000)
        for (const { read: own } of ranks) expect(own.length).toBeLessThan((1.2 * (count - from)) / size);
    }
  });

  it("end together where one of them meets a row that cannot be used, and the one that met it says where", async () => {
    const data = rows(300).map((row, i) => (i === 130 ? { input_ids: ["x"] } : row));
    const results = await Promise.allSettled(meetingRanks(size).map((one) => readAll(data, {}, one)));
    const messages = results.map((result) => (result.status === "rejected" ? (result.reason as Error) : undefined));
    for (const error of messages) {
      expect(error).toBeInstanceOf(DatasetError);
      expect(error?.message).toContain("row 130");
    }
    expect(messages.filter((error) => /rank \d cannot read on/.test(error?.message ?? ""))).toHaveLength(size - 1);
  });

  it("end with the tokens of a data set that one alone makes", async () => {
    const data = rows(500);
    using expected = await preprocessDataset(new InMemoryDataset(data), undefined);
    const sets = await Promise.all(
      meetingRanks(size).map((communicator) =>
        preprocessDataset(new InMemoryDataset(data), undefined, { communicator }),
      ),
    );
    for (const found of sets) {
      expect(found.lengths).toEqual(expected.lengths);
      expect(found.report.lines()).toEqual(expected.report.lines());
      for (let i = 0; i < expected.length; i++) {
        expect(found.sample(i)).toEqual(expected.sample(i));
        expect(found.sourceRow(i)).toBe(expected.sourceRow(i));
      }
      found[Symbol.dispose]();
    }
  });
});
