import { RecordBatchReader, type RecordBatch } from "apache-arrow";
import { indexArrowFile, type ArrowIndex } from "./arrow-index.ts";
import { validateBatch } from "./arrow-validate.ts";
import { BlockCache } from "./block-cache.ts";
import { checkRowIndex, type Dataset } from "./dataset.ts";
import { DatasetError, reasonOf, type DataLocation } from "./errors.ts";
import { FileBytes } from "./file-bytes.ts";
import { toPlainValue, type Row } from "./row.ts";

/**
 * An `.arrow` file: the stream format that HF `datasets` writes, or the file (Feather 2) format. Opening it reads the headers of
 * its messages; record batches are decoded when asked for, and the last two are kept.
 *
 * @throws DatasetError where a header is damaged; a damaged batch is an error when one of its rows is read
 */
export async function openArrowFile(path: string): Promise<Dataset> {
  const file = new FileBytes(path);
  try {
    return new ArrowDataset(file, indexArrowFile(file));
  } finally {
    file.close();
  }
}

class ArrowDataset implements Dataset {
  readonly length: number;
  readonly columnNames: readonly string[];
  readonly #file: FileBytes;
  readonly #index: ArrowIndex;
  readonly #batches: BlockCache<RecordBatch>;

  constructor(file: FileBytes, index: ArrowIndex) {
    this.#file = file;
    this.#index = index;
    this.columnNames = this.#readingArrow(() => {
      const reader = RecordBatchReader.from(file.read(index.schema.start, index.schema.end)).open();
      return reader.schema.fields.map((field) => field.name);
    });
    this.#batches = new BlockCache(
      index.batches.map((batch) => batch.rows),
      async (_start, _end, block) => this.#readBatch(block),
    );
    this.length = this.#batches.length;
  }

  async row(index: number): Promise<Row> {
    checkRowIndex(index, this.length);
    const { block, start } = await this.#batches.containing(index);
    return this.#readingArrow(() => {
      const row: Record<string, unknown> = {};
      for (const [i, column] of this.columnNames.entries()) {
        const value: unknown = block.getChildAt(i)?.get(index - start);
        row[column] = toPlainValue(unwrap(value), { ...this.origin(index), column });
      }
      return row;
    });
  }

  async *rows(start = 0, end: number = this.length): AsyncGenerator<Row> {
    for (let i = start; i < Math.min(end, this.length); i++) yield await this.row(i);
  }

  origin(index: number): DataLocation {
    return { file: this.#file.path, row: index };
  }

  release(): void {
    this.#batches.clear();
    this.#file.close();
  }

  /** Decodes one batch as a stream of its own: the schema, all dictionaries, and the batch. */
  #readBatch(number: number): RecordBatch {
    const { schema, dictionaries, batches } = this.#index;
    const batch = batches[number]!;
    const parts = [schema, ...dictionaries.filter((part) => part.start < batch.start), batch];
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.end - part.start, 0));
    let offset = 0;
    for (const { start, end } of parts) {
      this.#file.readInto(bytes.subarray(offset, offset + end - start), start);
      offset += end - start;
    }
    const decoded = this.#readingArrow(() => {
      const batches = RecordBatchReader.from(bytes).readAll();
      for (const part of batches) validateBatch(part);
      return batches;
    });
    if (decoded.length !== 1 || decoded[0]!.numRows !== batch.rows) {
      throw new DatasetError(
        "damaged Arrow file",
        { file: this.#file.path },
        { expected: `a batch of ${batch.rows} rows`, found: `${decoded.length} batches` },
      );
    }
    return decoded[0]!;
  }

  #readingArrow<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      if (error instanceof DatasetError) throw error;
      throw new DatasetError(`damaged Arrow file (${reasonOf(error)})`, { file: this.#file.path }, { cause: error });
    }
  }
}

/** Lists and structs of Arrow as lists and objects. */
function unwrap(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (ArrayBuffer.isView(value) || Array.isArray(value) || value instanceof Date) return value;
  if ("toArray" in value && typeof value.toArray === "function") {
    const items: unknown = value.toArray();
    if (ArrayBuffer.isView(items)) return "nullCount" in value && value.nullCount !== 0 ? [...iterate(value)] : items;
    return Array.isArray(items) ? items.map(unwrap) : items;
  }
  if ("toJSON" in value && typeof value.toJSON === "function") {
    const plain: unknown = value.toJSON();
    if (typeof plain !== "object" || plain === null) return plain;
    return Object.fromEntries(Object.entries(plain).map(([key, item]) => [key, unwrap(item)]));
  }
  return value;
}

function iterate(value: object): Iterable<unknown> {
  return value as Iterable<unknown>;
}
