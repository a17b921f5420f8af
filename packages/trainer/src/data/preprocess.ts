import type { Dataset } from "./dataset.ts";
import { DatasetReport, type RowEvent } from "./dataset-report.ts";
import { createRowEncoder, type RowEncoder } from "./encode-row.ts";
import type { EncodedRow } from "./encode-text.ts";
import { DatasetError, type DataLocation } from "./errors.ts";
import { countTrainable } from "./masking.ts";
import type { Row } from "./row.ts";
import { detectFormat, type SampleFormat, type SampleFormatOptions } from "./sample-format.ts";
import { TokenStore, type Sample } from "./token-store.ts";
import type { DataTokenizer } from "./tokenizer.ts";

/** What becomes of samples that are longer than they may be. */
export type LongSamplePolicy = "error" | "truncate" | "split" | "drop";

export const longSamplePolicies: readonly LongSamplePolicy[] = ["error", "truncate", "split", "drop"];

export interface PreprocessOptions extends SampleFormatOptions {
  /** Longest sample in tokens (fms-hf-tuning's 4096); the tokenizer's own limit holds if it is lower. */
  readonly maxSeqLength?: number | undefined;
  /** What to do with longer samples; `truncate` is HF's way, `split` makes several samples of one. */
  readonly longSamples?: LongSamplePolicy | undefined;
  /** What to do with samples of no tokens. */
  readonly emptySamples?: "drop" | "error" | undefined;
  /** What to do with samples of which no token is trained; `keep` is HF's way and leaves its batches as they are. */
  readonly untrainableSamples?: "keep" | "drop" | "error" | undefined;
  /** Rows of the model's embedding: pretokenised ids must be below. */
  readonly vocabSize?: number | undefined;
  /** Bytes of tokens to keep in memory before a temporary file is used; 2 GiB. */
  readonly memoryLimit?: number | undefined;
  /** The time that a chat template writes (`strftime_now`), for all rows; to repeat a run on another day, give the first one's. */
  readonly now?: Date | undefined;
  /** Called now and then with the rows done and the rows in all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Samples ready for batches. */
export interface TokenizedDataset extends Disposable {
  /** Number of samples. */
  readonly length: number;
  /** Tokens of every sample: int32 [samples]. */
  readonly lengths: Int32Array;
  readonly format: SampleFormat;
  readonly report: DatasetReport;
  /** Sample `index`, from 0. */
  sample(index: number): Sample;
  /** The row of the dataset that sample `index` comes from. */
  sourceRow(index: number): number;
}

/** Rows encoded at once, so that a native tokenizer can use several threads. */
const ROWS_AT_ONCE = 64;
const DEFAULT_MAX_SEQ_LENGTH = 4096;
const DEFAULT_MEMORY_LIMIT = 2 * 2 ** 30;
const LARGEST_TOKEN_ID = 2 ** 31 - 1;

/**
 * Makes tokens and labels of all rows, in order and the same for the same input. Pretokenised data needs no tokenizer.
 *
 * @throws DatasetError where the format is not clear, a row cannot be used, or no sample is left
 */
export async function preprocessDataset(
  dataset: Dataset,
  tokenizer: DataTokenizer | undefined,
  options: PreprocessOptions = {},
): Promise<TokenizedDataset> {
  const report = new DatasetReport();
  const { format, notes } = detectFormat(dataset.columnNames, options);
  report.notes.push(...notes);
  const maxLength = longestSample(options, tokenizer, report);
  const policy = new SamplePolicy(report, maxLength, options);
  const now = options.now ?? new Date();
  if (format.kind === "chat" && tokenizer?.getChatTemplate({}).includes("strftime_now") === true) {
    report.notes.push(`the chat template writes the date: ${now.toISOString()}`);
  }
  const encode = createRowEncoder(format, requireTokenizer(tokenizer, format), {
    maxLength: policy.keepsWhole ? Infinity : maxLength,
    vocabSize: options.vocabSize ?? LARGEST_TOKEN_ID,
    now,
  });
  const store = new TokenStore(options.memoryLimit ?? DEFAULT_MEMORY_LIMIT);
  const sources: number[] = [];
  try {
    for await (const [first, encoded] of encodeInOrder(dataset, encode)) {
      for (const [i, row] of encoded.entries()) {
        const index = first + i;
        for (const sample of policy.samplesOf(row, index, dataset.origin(index))) {
          // Sources are only written down from the first row on that is not one sample.
          if (sources.length > 0 || store.length !== index) sources.push(index);
          store.push(sample);
        }
      }
      options.onProgress?.(report.rows, dataset.length);
    }
    if (store.length === 0) throw new DatasetError("no samples are left", {}, { found: report.lines().join("; ") });
  } catch (error) {
    store[Symbol.dispose]();
    throw error;
  } finally {
    dataset.release();
  }
  const direct = store.length - sources.length;
  return {
    length: store.length,
    lengths: store.lengths,
    format,
    report,
    sample: (index) => store.sample(index),
    sourceRow: (index) => (index < direct ? index : sources[index - direct]!),
    [Symbol.dispose]: () => store[Symbol.dispose](),
  };
}

function longestSample(
  options: PreprocessOptions,
  tokenizer: DataTokenizer | undefined,
  report: DatasetReport,
): number {
  const asked = options.maxSeqLength ?? DEFAULT_MAX_SEQ_LENGTH;
  if (!Number.isInteger(asked) || asked < 1) {
    throw new DatasetError("max_seq_length is not usable", {}, { expected: "an integer from 1", found: String(asked) });
  }
  const limit = tokenizer?.modelMaxLength ?? Infinity;
  if (limit >= asked) return asked;
  report.notes.push(`max_seq_length ${asked} is above the tokenizer's model_max_length: ${limit} is used`);
  return limit;
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
): AsyncGenerator<readonly [first: number, rows: EncodedRow[]]> {
  let first = 0;
  let block: Row[] = [];
  for await (const row of dataset.rows()) {
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

/** Decides about every row and counts. */
class SamplePolicy {
  readonly #report: DatasetReport;
  readonly #maxLength: number;
  readonly #long: LongSamplePolicy;
  readonly #empty: "drop" | "error";
  readonly #untrainable: "keep" | "drop" | "error";

  constructor(report: DatasetReport, maxLength: number, options: PreprocessOptions) {
    this.#report = report;
    this.#maxLength = maxLength;
    this.#long = oneOf("long_samples", options.longSamples ?? "truncate", longSamplePolicies);
    this.#empty = oneOf("empty_samples", options.emptySamples ?? "drop", ["drop", "error"]);
    this.#untrainable = oneOf("untrainable_samples", options.untrainableSamples ?? "keep", ["keep", "drop", "error"]);
  }

  /** Whether rows are to be encoded without a limit. */
  get keepsWhole(): boolean {
    return this.#long === "split";
  }

  /** What row `index` becomes: one sample, several pieces of a long one, or none. */
  samplesOf(row: EncodedRow, index: number, where: DataLocation): readonly Sample[] {
    const report = this.#report;
    report.rows += 1;
    if (row.fullLength === 0) return this.#refuse(this.#empty, "empty", index, where, "no tokens");
    const cut = row.fullLength - row.inputIds.length;
    if (cut > 0 && this.#long !== "truncate" && this.#long !== "split") {
      const what = `longer than max_seq_length: ${row.fullLength} tokens, ${this.#maxLength} allowed`;
      return this.#refuse(this.#long, "long-dropped", index, where, what);
    }
    for (const key of row.missing) report.add(`${key}-missing`, index);
    const samples = this.#long === "split" ? splitSample(row, this.#maxLength) : [row];
    const trainable = samples.reduce((sum, { labels }) => sum + countTrainable(labels), 0);
    if (trainable === 0 && this.#untrainable !== "keep") {
      return this.#refuse(this.#untrainable, "untrainable-dropped", index, where, "no trainable token");
    }
    if (trainable === 0) report.add("untrainable", index);
    for (const remark of row.remarks) report.add(remark, index);
    if (cut > 0) report.add("truncated", index);
    if (samples.length > 1) report.add("split", index);
    report.truncatedTokens += cut;
    report.samples += samples.length;
    report.tokens += row.inputIds.length;
    report.longest = Math.max(report.longest, row.inputIds.length);
    report.trainableTokens += trainable;
    return samples;
  }

  #refuse(policy: "drop" | "error", event: RowEvent, index: number, where: DataLocation, what: string): readonly [] {
    if (policy === "error") throw new DatasetError(what, where);
    this.#report.add(event, index);
    return [];
  }
}

/** Pieces of `maxLength` tokens and what is left over; all of them keep their labels. */
function splitSample(row: EncodedRow, maxLength: number): Sample[] {
  const pieces: Sample[] = [];
  for (let start = 0; start < row.inputIds.length; start += maxLength) {
    const end = start + maxLength;
    pieces.push({ inputIds: row.inputIds.subarray(start, end), labels: row.labels.subarray(start, end) });
  }
  return pieces;
}

function oneOf<T extends string>(name: string, value: T, allowed: readonly T[]): T {
  if (allowed.includes(value)) return value;
  throw new DatasetError(`${name} is not usable`, {}, { expected: allowed.join(", "), found: JSON.stringify(value) });
}
