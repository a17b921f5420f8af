import { constants } from "node:buffer";
import { checkRowIndex, type Dataset } from "./dataset.ts";
import { DatasetError, reasonOf, type DataLocation } from "./errors.ts";
import { FileBytes } from "./file-bytes.ts";
import { indexJsonFile } from "./json-index.ts";
import { describeValue, type Row } from "./row.ts";
import type { RowIndex } from "./row-index.ts";

/** Bytes read at once when rows are streamed; a longer row is read alone. */
const BLOCK_BYTES = 1 << 20;
/** Rows looked at for the names of the columns: optional columns may be missing in the first. */
const ROWS_FOR_COLUMNS = 64;

/**
 * A `.json` or `.jsonl` file. Opening it finds the rows in one pass; of the contents nothing stays in memory: rows are read and
 * parsed when asked for.
 *
 * @throws DatasetError where the file is no JSON, with its line; rows are checked when they are read
 */
export async function openJsonFile(path: string): Promise<Dataset> {
  const file = new FileBytes(path);
  try {
    const rows = indexJsonFile(file);
    const names = new Set<string>();
    for await (const row of readRows(file, rows, 0, Math.min(rows.length, ROWS_FOR_COLUMNS))) {
      for (const name of Object.keys(row)) names.add(name);
    }
    return new JsonDataset(file, rows, [...names]);
  } finally {
    file.close();
  }
}

class JsonDataset implements Dataset {
  readonly length: number;
  readonly columnNames: readonly string[];
  readonly #file: FileBytes;
  readonly #rows: RowIndex;

  constructor(file: FileBytes, rows: RowIndex, columnNames: readonly string[]) {
    this.#file = file;
    this.#rows = rows;
    this.length = rows.length;
    this.columnNames = columnNames;
  }

  async row(index: number): Promise<Row> {
    checkRowIndex(index, this.length);
    const where = this.origin(index);
    checkRowSize(this.#rows, index, where);
    return parseRow(this.#file.read(this.#rows.start(index), this.#rows.end(index)), where);
  }

  rows(start = 0, end: number = this.length): AsyncGenerator<Row> {
    return readRows(this.#file, this.#rows, start, Math.min(end, this.length));
  }

  origin(index: number): DataLocation {
    return { file: this.#file.path, line: this.#rows.line(index), row: index };
  }

  release(): void {
    this.#file.close();
  }
}

async function* readRows(file: FileBytes, rows: RowIndex, start: number, end: number): AsyncGenerator<Row> {
  for (let first = start; first < end;) {
    const from = rows.start(first);
    checkRowSize(rows, first, { file: file.path, line: rows.line(first), row: first });
    let last = first + 1;
    while (last < end && rows.end(last) - from <= BLOCK_BYTES) last += 1;
    const block = file.read(from, rows.end(last - 1));
    for (let i = first; i < last; i++) {
      const where = { file: file.path, line: rows.line(i), row: i };
      yield parseRow(block.subarray(rows.start(i) - from, rows.end(i) - from), where);
    }
    first = last;
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true });

/** A row is parsed as one string, and those have a largest length. */
function checkRowSize(rows: RowIndex, index: number, where: DataLocation): void {
  const size = rows.end(index) - rows.start(index);
  if (size > constants.MAX_STRING_LENGTH) {
    throw new DatasetError("row too large", where, {
      expected: `at most ${constants.MAX_STRING_LENGTH} bytes`,
      found: String(size),
    });
  }
}

function parseRow(bytes: Uint8Array, where: DataLocation): Row {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch (error) {
    throw new DatasetError("not valid UTF-8", where, { cause: error, hint: "save the file as UTF-8" });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new DatasetError(`not valid JSON (${reasonOf(error)})`, where, { cause: error });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new DatasetError("not a row", where, {
      expected: "an object with a key for each column",
      found: describeValue(value),
    });
  }
  return value as Row;
}
