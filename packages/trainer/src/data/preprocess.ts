import { singleProcess, type Communicator } from "../communicator.ts";
import type { Dataset } from "./dataset.ts";
import type { DatasetReport } from "./dataset-report.ts";
import { DatasetError } from "./errors.ts";
import type { SampleFormat } from "./sample-format.ts";
import { createSampleReader, type SampleReaderOptions } from "./sample-reader.ts";
import { shareReading } from "./shared-reading.ts";
import { TokenStore, type Sample } from "./token-store.ts";
import type { DataTokenizer } from "./tokenizer.ts";

export interface PreprocessOptions extends SampleReaderOptions {
  /** Bytes of tokens to keep in memory before a temporary file is used; 2 GiB. */
  readonly memoryLimit?: number | undefined;
  /** Ranks that preprocess the same data: each makes the tokens of a share, and all end with all samples. */
  readonly communicator?: Communicator | undefined;
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

const DEFAULT_MEMORY_LIMIT = 2 * 2 ** 30;

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
  const { communicator = singleProcess } = options;
  const reader = shareReading(createSampleReader(dataset, tokenizer, options), dataset.length, communicator);
  const { format, report } = reader;
  const store = new TokenStore(options.memoryLimit ?? DEFAULT_MEMORY_LIMIT);
  const sources: number[] = [];
  try {
    for await (const block of reader.read()) {
      for (const { row, samples } of block) {
        for (const sample of samples) {
          // Sources are only written down from the first row on that is not one sample.
          if (sources.length > 0 || store.length !== row) sources.push(row);
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
