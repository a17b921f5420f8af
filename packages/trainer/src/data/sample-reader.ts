import type { Dataset } from "./dataset.ts";
import { DatasetReport } from "./dataset-report.ts";
import { createRowEncoder, type RowEncoder } from "./encode-row.ts";
import type { EncodedRow } from "./encode-text.ts";
import { DatasetError } from "./errors.ts";
import type { Row } from "./row.ts";
import { detectFormat, type SampleFormat, type SampleFormatOptions } from "./sample-format.ts";
import { SamplePolicy, type LongSamplePolicy, type SampleLimit, type SamplePolicyOptions } from "./sample-policy.ts";
import type { Sample } from "./token-store.ts";
import type { DataTokenizer } from "./tokenizer.ts";

/** How rows become samples. */
export interface SampleReaderOptions extends SampleFormatOptions, SamplePolicyOptions {
  /** Longest sample in tokens (fms-hf-tuning's 4096); the tokenizer's own limit holds if it is lower. */
  readonly maxSeqLength?: number | undefined;
  /** What to do with longer samples; `truncate` is HF's way, `split` makes several samples of one. */
  readonly longSamples?: LongSamplePolicy | undefined;
  /** Rows of the model's embedding: pretokenised ids must be below. */
  readonly vocabSize?: number | undefined;
  /** The time that a chat template writes (`strftime_now`), for all rows; to repeat a run on another day, give the first one's. */
  readonly now?: Date | undefined;
  /** Holds in place of `maxSeqLength` where it is lower. */
  readonly limit?: SampleLimit | undefined;
}

/** The samples of one row of a dataset: none where it was dropped, several where it was split. */
export interface RowSamples {
  readonly row: number;
  readonly samples: readonly Sample[];
}

export interface SampleReader {
  readonly format: SampleFormat;
  /** What became of the rows that were read. */
  readonly report: DatasetReport;
  /** What rows become, from row `first` to row `end`, in order and in blocks: the same for the same row wherever reading begins. */
  read(first?: number, end?: number): AsyncGenerator<readonly RowSamples[]>;
}

/** Rows encoded at once, so that a native tokenizer can use several threads. */
export const ROWS_AT_ONCE = 64;
const DEFAULT_MAX_SEQ_LENGTH = 4096;
const LARGEST_TOKEN_ID = 2 ** 31 - 1;

/**
 * Reads rows as tokens and labels. Pretokenised data needs no tokenizer.
 *
 * @throws DatasetError where the format is not clear or an option is not usable; `read`, where a row cannot be used
 */
export function createSampleReader(
  dataset: Dataset,
  tokenizer: DataTokenizer | undefined,
  options: SampleReaderOptions = {},
): SampleReader {
  const { format, notes } = detectFormat(dataset.columnNames, options);
  const longest = longestSample(options, tokenizer);
  const asked: SampleLimit = {
    tokens: longest.tokens,
    name: "max_seq_length",
    longSamples: options.longSamples ?? "truncate",
  };
  const limit = options.limit !== undefined && options.limit.tokens < asked.tokens ? options.limit : asked;
  const report = new DatasetReport(limit.name);
  report.notes.push(...notes, ...longest.notes);
  const policy = new SamplePolicy(report, limit, options);
  const now = options.now ?? new Date();
  if (format.kind === "chat" && tokenizer?.getChatTemplate({}).includes("strftime_now") === true) {
    report.notes.push(`the chat template writes the date: ${now.toISOString()}`);
  }
  const encode = createRowEncoder(format, requireTokenizer(tokenizer, format), {
    maxLength: policy.keepsWhole ? Infinity : limit.tokens,
    vocabSize: options.vocabSize ?? LARGEST_TOKEN_ID,
    now,
  });
  return {
    format,
    report,
    async *read(from, to) {
      for await (const [first, encoded] of encodeInOrder(dataset, encode, from, to)) {
        yield encoded.map((row, i) => ({
          row: first + i,
          samples: policy.samplesOf(row, first + i, dataset.origin(first + i)),
        }));
      }
    },
  };
}

function longestSample(
  options: SampleReaderOptions,
  tokenizer: DataTokenizer | undefined,
): { readonly tokens: number; readonly notes: readonly string[] } {
  const asked = options.maxSeqLength ?? DEFAULT_MAX_SEQ_LENGTH;
  if (!Number.isInteger(asked) || asked < 1) {
    throw new DatasetError("max_seq_length is not usable", {}, { expected: "an integer from 1", found: String(asked) });
  }
  const limit = tokenizer?.modelMaxLength ?? Infinity;
  if (limit >= asked) return { tokens: asked, notes: [] };
  const note = `max_seq_length ${asked} is above the tokenizer's model_max_length: ${limit} is used`;
  return { tokens: limit, notes: [note] };
}

function requireTokenizer(tokenizer: DataTokenizer | undefined, format: SampleFormat): DataTokenizer {
  if (tokenizer !== undefined) return tokenizer;
  if (format.kind !== "pretokenized") throw new DatasetError(`data of the format ${format.kind} needs a tokenizer`);
  return NO_TOKENIZER;
}

/** Stands in where all rows are tokens already. */
const NO_TOKENIZER: DataTokenizer = {
  eosToken: undefined,
  bosTokenId: undefined,
  specialTokensMap: new Map(),
  modelMaxLength: Infinity,
  encode: failWithoutTokenizer,
  getChatTemplate: failWithoutTokenizer,
  renderChatTemplate: failWithoutTokenizer,
};

function failWithoutTokenizer(): never {
  throw new DatasetError("no tokenizer");
}

/** Rows in blocks, encoded side by side and given in order. */
async function* encodeInOrder(
  dataset: Dataset,
  encode: RowEncoder,
  start = 0,
  end?: number,
): AsyncGenerator<readonly [first: number, rows: EncodedRow[]]> {
  let first = start;
  let block: Row[] = [];
  for await (const row of dataset.rows(start, end)) {
    block.push(row);
    if (block.length < ROWS_AT_ONCE) continue;
    yield [first, await encodeBlock(dataset, block, first, encode)];
    first += block.length;
    block = [];
  }
  if (block.length > 0) yield [first, await encodeBlock(dataset, block, first, encode)];
}

/** The error of the first row that fails, whichever fails first in time. */
async function encodeBlock(dataset: Dataset, block: Row[], first: number, encode: RowEncoder): Promise<EncodedRow[]> {
  const results = await Promise.allSettled(block.map(async (row, i) => encode(row, dataset.origin(first + i))));
  return results.map((result) => {
    if (result.status === "rejected") throw result.reason;
    return result.value;
  });
}
