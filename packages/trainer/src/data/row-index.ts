/** Byte range and line of every row of a text file: 20 bytes a row. */
export class RowIndex {
  #starts = new Float64Array(1024);
  #ends = new Float64Array(1024);
  #lines = new Uint32Array(1024);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(start: number, end: number, line: number): void {
    if (this.#length === this.#starts.length) this.#grow();
    this.#starts[this.#length] = start;
    this.#ends[this.#length] = end;
    this.#lines[this.#length] = line;
    this.#length += 1;
  }

  /** First byte of row `index`. */
  start(index: number): number {
    return this.#starts[index]!;
  }

  /** The byte behind the last one of row `index`. */
  end(index: number): number {
    return this.#ends[index]!;
  }

  /** Line on which row `index` begins, from 1. */
  line(index: number): number {
    return this.#lines[index]!;
  }

  #grow(): void {
    const capacity = this.#starts.length * 2;
    const starts = new Float64Array(capacity);
    const ends = new Float64Array(capacity);
    const lines = new Uint32Array(capacity);
    starts.set(this.#starts);
    ends.set(this.#ends);
    lines.set(this.#lines);
    this.#starts = starts;
    this.#ends = ends;
    this.#lines = lines;
  }
}
