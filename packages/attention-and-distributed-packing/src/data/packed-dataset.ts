import {
  BatchPlan,
  DatasetError,
  IGNORE_INDEX,
  type Batch,
  type DataLoader,
  type SampleSource,
} from "@fms-accel/trainer";
import { nextFit } from "../packing/next-fit.ts";

/** A data point: token ids, and where it is padded its mask. Without labels every token is trained. */
export interface PackableItem {
  readonly inputIds: ArrayLike<number>;
  /** 1 on tokens, 0 on padding at either end. Left out: no padding. */
  readonly attentionMask?: ArrayLike<number> | undefined;
  /** −100 where there is nothing to learn. */
  readonly labels?: ArrayLike<number> | undefined;
}

/** Several data points in one row, each int32 [packLength]. */
export interface PackedItem {
  readonly inputIds: Int32Array;
  /** k on the tokens of the k-th data point, from 1; 0 on padding. */
  readonly attentionMask: Int32Array;
  /** The first label of each data point is −100: the token before it belongs to another one. */
  readonly labels: Int32Array;
}

export interface PackedDatasetOptions {
  /** Tokens of a row that data points may take; default: all of it. */
  readonly groupLength?: number | undefined;
  /** Data points of a row at most; default: any number. */
  readonly maxPackedSize?: number | undefined;
}

/** What is needed of a tokenizer. */
export interface PaddingTokenizer {
  readonly padTokenId?: number | undefined;
  readonly paddingSide?: "left" | "right" | undefined;
}

/**
 * Data points put together into rows in the order in which they come, as functionary's `PackedDataset`: attention stays within each data
 * point, so the loss is that of the data points one by one.
 *
 * ```ts
 * const packed = new PackedDataset(dataset, tokenizer, packLength);
 * new Trainer({ model, args, trainLoader: packed.loader(new BatchPlan(new RandomSampler(packed.length, 42), { batchSize: 4 })) });
 * ```
 */
export class PackedDataset {
  /** Data points of every row. */
  readonly groups: readonly Int32Array[];
  /** Tokens of every data point, padding not counted: int32 [data points]. */
  readonly lengths: Int32Array;
  readonly packLength: number;
  readonly #item: (index: number) => PackableItem;
  readonly #padTokenId: number;
  readonly #paddingSide: "left" | "right";

  /**
   * @param dataset data points, or samples of a tokenised data set
   * @param packLength width of a row in tokens; at least the longest data point
   * @throws DatasetError where a data point has no place in a row, or its parts do not fit each other
   */
  constructor(
    dataset: SampleSource | readonly PackableItem[],
    tokenizer: PaddingTokenizer,
    packLength: number,
    options: PackedDatasetOptions = {},
  ) {
    const { groupLength = packLength, maxPackedSize = -1 } = options;
    requireLength("packLength", packLength, Number.MAX_SAFE_INTEGER);
    requireLength("groupLength", groupLength, packLength);
    this.packLength = packLength;
    this.#item = "sample" in dataset ? (index) => dataset.sample(index) : (index) => dataset[index]!;
    this.#padTokenId = tokenizer.padTokenId ?? 0;
    this.#paddingSide = tokenizer.paddingSide ?? "right";
    this.lengths = Int32Array.from({ length: dataset.length }, (_, index) => this.#tokens(index).length);
    const longest = this.lengths.reduce((a, b) => Math.max(a, b), 0);
    if (longest > groupLength) {
      const expected = `at most ${groupLength} tokens, the length of a pack`;
      const found = `${longest} in data point ${this.lengths.indexOf(longest)}; pack_length must be >= the longest`;
      throw new DatasetError("a data point is too long to be packed", {}, { expected, found });
    }
    this.groups = nextFit(this.lengths, groupLength, maxPackedSize);
  }

  /** Number of rows. */
  get length(): number {
    return this.groups.length;
  }

  /** Row `index`, from 0. */
  item(index: number): PackedItem {
    const group = this.groups[index];
    if (group === undefined) {
      const expected = `a row from 0 to ${this.length - 1}`;
      throw new DatasetError("no such row", {}, { expected, found: String(index) });
    }
    const total = group.reduce((sum, point) => sum + this.lengths[point]!, 0);
    const inputIds = new Int32Array(this.packLength).fill(this.#padTokenId);
    const attentionMask = new Int32Array(this.packLength);
    const labels = new Int32Array(this.packLength).fill(IGNORE_INDEX);
    let at = this.#paddingSide === "left" ? this.packLength - total : 0;
    for (const [k, point] of group.entries()) {
      const tokens = this.#tokens(point);
      inputIds.set(tokens.inputIds, at);
      labels.set(tokens.labels, at);
      if (tokens.length > 0) labels[at] = IGNORE_INDEX;
      attentionMask.fill(k + 1, at, at + tokens.length);
      at += tokens.length;
    }
    return { inputIds, attentionMask, labels };
  }

  /** Rows as a micro-batch: int32 [rows, packLength]. */
  batch(rows: ArrayLike<number>): Batch {
    const width = this.packLength;
    const size = rows.length * width;
    const batch = {
      shape: [rows.length, width] as const,
      inputIds: new Int32Array(size),
      labels: new Int32Array(size),
      attentionMask: new Int32Array(size),
      positionIds: new Int32Array(size),
      sequenceIds: new Int32Array(size),
    };
    let tokens = 0;
    let trainableTokens = 0;
    let samples = 0;
    for (let row = 0; row < rows.length; row++) {
      const { inputIds, attentionMask, labels } = this.item(rows[row]!);
      const start = row * width;
      batch.inputIds.set(inputIds, start);
      batch.labels.set(labels, start);
      batch.sequenceIds.set(attentionMask, start);
      samples += this.groups[rows[row]!]!.length;
      for (let t = 0; t < width; t++) {
        if (attentionMask[t] === 0) continue;
        tokens++;
        batch.attentionMask[start + t] = 1;
        if (t > 0 && attentionMask[t - 1] === attentionMask[t])
          batch.positionIds[start + t] = batch.positionIds[start + t - 1]! + 1;
        // A first label is never a target, so every label left is one.
        if (labels[t] !== IGNORE_INDEX) trainableTokens++;
      }
    }
    return { ...batch, samples, tokens, trainableTokens };
  }

  /** Micro-batches for a trainer. The plan says which rows: one over `length` samples. */
  loader(plan: BatchPlan): DataLoader {
    return {
      sampleCount: this.lengths.length,
      order: `packed rows of ${this.packLength} tokens`,
      batchCount: () => plan.batchCount(),
      batches: (epoch, first) => this.#batches(plan, epoch, first),
    };
  }

  async *#batches(plan: BatchPlan, epoch: number, first: number): AsyncGenerator<Batch> {
    for (let index = first; index < plan.batchCount(); index++) yield this.batch(plan.batch(epoch, index));
  }

  /** The original's two lines of statistics. */
  stat(): string {
    const total = this.lengths.reduce((a, b) => a + b, 0);
    const average = (count: number): string => pythonFloat(total / count);
    return (
      `number of original data points:${this.lengths.length}; packed to: ${this.length} data points\n` +
      `original avg length: ${average(this.lengths.length)}; avg packed length: ${average(this.length)}\n`
    );
  }

  #tokens(index: number): { inputIds: Int32Array; labels: Int32Array; length: number } {
    const { inputIds, attentionMask, labels } = this.#item(index);
    const where = `data point ${index}`;
    for (const [name, part] of Object.entries({ attentionMask, labels })) {
      if (part === undefined || part.length === inputIds.length) continue;
      const expected = `${inputIds.length}, one for each token id`;
      throw new DatasetError(
        `${name} of ${where} does not fit its token ids`,
        {},
        { expected, found: String(part.length) },
      );
    }
    let start = 0;
    let end = inputIds.length;
    if (attentionMask !== undefined) {
      while (start < end && attentionMask[start] === 0) start++;
      while (end > start && attentionMask[end - 1] === 0) end--;
      for (let t = start; t < end; t++) {
        if (attentionMask[t] === 1) continue;
        const expected = "1 on all tokens between the first and the last";
        throw new DatasetError(`the mask of ${where} is not usable`, {}, { expected, found: String(attentionMask[t]) });
      }
    }
    const ids = Int32Array.from({ length: end - start }, (_, t) => inputIds[start + t]!);
    const own = labels === undefined ? ids : Int32Array.from(ids, (_, t) => labels[start + t]!);
    return { inputIds: ids, labels: own, length: ids.length };
  }
}

function requireLength(name: string, value: number, most: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= most) return;
  const expected =
    most === Number.MAX_SAFE_INTEGER ? "a number of tokens from 1" : `1 to ${most} tokens, the width of a row`;
  throw new DatasetError(`${name} is not usable`, {}, { expected, found: String(value) });
}

/** As Python writes a float: with a decimal point. */
function pythonFloat(value: number): string {
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}
