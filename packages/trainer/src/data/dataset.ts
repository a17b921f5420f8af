import { DatasetError, type DataLocation } from "./errors.ts";
import type { Row } from "./row.ts";

/** Rows with random access. Nothing but an index is held in memory: rows are read from their files when asked for. */
export interface Dataset {
  /** Number of rows. */
  readonly length: number;
  /** Columns, in the order of their first appearance. Text files: of the first rows of each file. */
  readonly columnNames: readonly string[];
  /** Row `index`, from 0. */
  row(index: number): Promise<Row>;
  /** Rows `start` to `end` (exclusive) one after the other: faster than asking for each. */
  rows(start?: number, end?: number): AsyncIterable<Row>;
  /** The file and line that row `index` comes from. */
  origin(index: number): DataLocation;
  /** Closes files and drops caches. They are opened again when a row is asked for. */
  release(): void;
}

/** Files open at a time in a dataset of many. */
const MOST_OPEN_SHARDS = 32;

/** Several datasets one after the other. */
export class ConcatenatedDataset implements Dataset {
  readonly length: number;
  readonly columnNames: readonly string[];
  readonly #shards: readonly Dataset[];
  /** First row of every shard, and the number of rows at the end. */
  readonly #starts: Float64Array;
  /** Shards in use, least recently used first. */
  readonly #open = new Set<Dataset>();

  constructor(shards: readonly Dataset[]) {
    this.#shards = shards;
    this.#starts = new Float64Array(shards.length + 1);
    const names = new Set<string>();
    for (const [i, shard] of shards.entries()) {
      this.#starts[i + 1] = this.#starts[i]! + shard.length;
      for (const name of shard.columnNames) names.add(name);
    }
    this.length = this.#starts[shards.length]!;
    this.columnNames = [...names];
  }

  async row(index: number): Promise<Row> {
    const [shard, local] = this.#locate(index);
    this.#use(shard);
    return shard.row(local);
  }

  async *rows(start = 0, end: number = this.length): AsyncGenerator<Row> {
    for (let i = 0; i < this.#shards.length; i++) {
      const first = Math.max(start, this.#starts[i]!);
      const last = Math.min(end, this.#starts[i + 1]!);
      if (first >= last) continue;
      const shard = this.#shards[i]!;
      this.#use(shard);
      yield* shard.rows(first - this.#starts[i]!, last - this.#starts[i]!);
    }
  }

  origin(index: number): DataLocation {
    const [shard, local] = this.#locate(index);
    return shard.origin(local);
  }

  release(): void {
    for (const shard of this.#open) shard.release();
    this.#open.clear();
  }

  #locate(index: number): [Dataset, number] {
    checkRowIndex(index, this.length);
    let low = 0;
    let high = this.#shards.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#starts[middle]! <= index) low = middle;
      else high = middle;
    }
    return [this.#shards[low]!, index - this.#starts[low]!];
  }

  #use(shard: Dataset): void {
    this.#open.delete(shard);
    this.#open.add(shard);
    if (this.#open.size > MOST_OPEN_SHARDS) {
      const [oldest] = this.#open;
      if (oldest !== undefined) {
        oldest.release();
        this.#open.delete(oldest);
      }
    }
  }
}

/** Rows that are in memory already, for tests and for data made by a program. */
export class InMemoryDataset implements Dataset {
  readonly length: number;
  readonly columnNames: readonly string[];
  readonly #rows: readonly Row[];
  readonly #name: string;

  constructor(rows: readonly Row[], name = "rows in memory") {
    this.#rows = rows;
    this.#name = name;
    this.length = rows.length;
    this.columnNames = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  }

  async row(index: number): Promise<Row> {
    checkRowIndex(index, this.length);
    return this.#rows[index]!;
  }

  async *rows(start = 0, end: number = this.length): AsyncGenerator<Row> {
    for (let i = start; i < Math.min(end, this.length); i++) yield this.#rows[i]!;
  }

  origin(index: number): DataLocation {
    return { file: this.#name, row: index };
  }

  release(): void {}
}

/** Throws unless `index` is a row of a dataset of `length` rows. */
export function checkRowIndex(index: number, length: number): void {
  if (!Number.isInteger(index) || index < 0 || index >= length) {
    throw new DatasetError("no such row", {}, { expected: `a row from 0 to ${length - 1}`, found: String(index) });
  }
}
