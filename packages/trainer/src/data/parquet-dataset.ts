import {
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
  type AsyncBuffer,
  type FileMetaData,
} from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { BlockCache } from "./block-cache.ts";
import { checkRowIndex, type Dataset } from "./dataset.ts";
import { DatasetError, reasonOf, type DataLocation } from "./errors.ts";
import { FileBytes } from "./file-bytes.ts";
import { validateRowGroup } from "./parquet-validate.ts";
import { toPlainValue, type Row } from "./row.ts";

/**
 * A `.parquet` file. Opening it reads the footer; rows are decoded by row group when asked for, and the last two groups are kept.
 *
 * @throws DatasetError where the footer is damaged; a damaged row group is an error when one of its rows is read
 */
export async function openParquetFile(path: string): Promise<Dataset> {
  const file = new FileBytes(path);
  try {
    const metadata = await readMetadata(file);
    const columns = await readingParquet(path, async () =>
      parquetSchema(metadata).children.map((child) => child.element.name),
    );
    return new ParquetDataset(file, metadata, columns);
  } finally {
    file.close();
  }
}

async function readMetadata(file: FileBytes): Promise<FileMetaData> {
  const ends = file.size >= 12 ? [...file.read(0, 4), ...file.read(file.size - 4, file.size)] : [];
  if (String.fromCharCode(...ends) !== "PAR1PAR1") {
    throw new DatasetError("not a parquet file", { file: file.path }, { expected: '"PAR1" at both ends' });
  }
  const metadata = await readingParquet(file.path, () =>
    parquetMetadataAsync(asyncBuffer(file), { geoparquet: false }),
  );
  const rows = Number(metadata.num_rows);
  const rowsOfGroups = metadata.row_groups.reduce((sum, group) => sum + Number(group.num_rows), 0);
  const sane = metadata.row_groups.every((group) => group.num_rows >= 0n);
  if (!Number.isSafeInteger(rows) || rows !== rowsOfGroups || !sane) {
    throw new DatasetError(
      "damaged parquet footer",
      { file: file.path },
      { expected: `row groups of ${rows} rows together`, found: String(rowsOfGroups) },
    );
  }
  return metadata;
}

class ParquetDataset implements Dataset {
  readonly length: number;
  readonly columnNames: readonly string[];
  readonly #file: FileBytes;
  readonly #metadata: FileMetaData;
  readonly #groups: BlockCache<readonly Row[]>;

  constructor(file: FileBytes, metadata: FileMetaData, columnNames: readonly string[]) {
    this.#file = file;
    this.#metadata = metadata;
    this.columnNames = columnNames;
    this.#groups = new BlockCache(
      metadata.row_groups.map((group) => Number(group.num_rows)),
      (start, end, group) => this.#readRows(start, end, group),
    );
    this.length = this.#groups.length;
  }

  async row(index: number): Promise<Row> {
    checkRowIndex(index, this.length);
    const { block, start } = await this.#groups.containing(index);
    return this.#plainRow(block[index - start]!, index);
  }

  async *rows(start = 0, end: number = this.length): AsyncGenerator<Row> {
    for (let i = start; i < Math.min(end, this.length); i++) yield await this.row(i);
  }

  origin(index: number): DataLocation {
    return { file: this.#file.path, row: index };
  }

  release(): void {
    this.#groups.clear();
    this.#file.close();
  }

  async #readRows(rowStart: number, rowEnd: number, group: number): Promise<readonly Row[]> {
    const file = asyncBuffer(this.#file);
    const rows = await readingParquet(this.#file.path, () => {
      validateRowGroup(this.#file, this.#metadata, group);
      return parquetReadObjects({ file, metadata: this.#metadata, compressors, rowStart, rowEnd, geoparquet: false });
    });
    if (rows.length !== rowEnd - rowStart) {
      throw new DatasetError(
        "damaged parquet file",
        { file: this.#file.path, row: rowStart },
        { expected: `${rowEnd - rowStart} rows in the row group`, found: String(rows.length) },
      );
    }
    return rows;
  }

  #plainRow(row: Row, index: number): Row {
    const where = this.origin(index);
    const plain: Record<string, unknown> = {};
    for (const column of this.columnNames) plain[column] = toPlainValue(row[column], { ...where, column });
    return plain;
  }
}

/** Reads as hyparquet wants them, refused where a damaged footer points outside the file. */
function asyncBuffer(file: FileBytes): AsyncBuffer {
  return {
    byteLength: file.size,
    slice(start: number, end = file.size): ArrayBuffer {
      if (!(start >= 0 && end >= start && end <= file.size)) {
        throw new DatasetError(
          "damaged parquet file",
          { file: file.path },
          { expected: `offsets within its ${file.size} bytes`, found: `${start} to ${end}` },
        );
      }
      return file.read(start, end).buffer;
    },
  };
}

async function readingParquet<T>(path: string, read: () => Promise<T> | T): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof DatasetError) throw error;
    throw new DatasetError(`damaged parquet file (${reasonOf(error)})`, { file: path }, { cause: error });
  }
}
