/** Blocks kept: two, so that reading back and forth over a border does not decode a block twice. */
const BLOCKS_KEPT = 2;

/** Rows stored in blocks (parquet row groups, Arrow record batches) that are decoded whole; the latest ones are kept. */
export class BlockCache<Block> {
  /** Number of rows of all blocks. */
  readonly length: number;
  /** First row of every block, and the number of rows at the end. */
  readonly #starts: Float64Array;
  readonly #load: (start: number, end: number, block: number) => Promise<Block>;
  /** By block number, least recently used first. */
  readonly #kept = new Map<number, Promise<Block>>();

  /**
   * @param sizes rows of every block
   * @param load decodes block number `block`, which holds rows `start` to `end` (exclusive)
   */
  constructor(sizes: readonly number[], load: (start: number, end: number, block: number) => Promise<Block>) {
    this.#starts = new Float64Array(sizes.length + 1);
    for (const [i, size] of sizes.entries()) this.#starts[i + 1] = this.#starts[i]! + size;
    this.length = this.#starts[sizes.length]!;
    this.#load = load;
  }

  /** The block that holds row `index`, and its first row. */
  async containing(index: number): Promise<{ block: Block; start: number }> {
    let low = 0;
    let high = this.#starts.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#starts[middle]! <= index) low = middle;
      else high = middle;
    }
    const start = this.#starts[low]!;
    const kept = this.#kept.get(low) ?? this.#load(start, this.#starts[low + 1]!, low);
    this.#kept.delete(low);
    this.#kept.set(low, kept);
    if (this.#kept.size > BLOCKS_KEPT) this.#kept.delete(this.#kept.keys().next().value ?? low);
    try {
      return { block: await kept, start };
    } catch (error) {
      this.#kept.delete(low);
      throw error;
    }
  }

  clear(): void {
    this.#kept.clear();
  }
}
