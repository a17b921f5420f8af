import { DatasetError } from "./errors.ts";
import { GrowingIntegers } from "./growing-integers.ts";
import { IGNORE_INDEX } from "./masking.ts";
import { SpillFile } from "./spill-file.ts";

/** Token ids and labels of one sample: int32 [n] each. */
export interface Sample {
  readonly inputIds: Int32Array;
  readonly labels: Int32Array;
}

/** Tokens in a block: 4 MiB of ids. A longer sample gets a block of its own. */
const BLOCK_TOKENS = 1 << 20;

/** Samples one behind the other: a label that is its token's id takes one bit. */
interface Block {
  readonly ids: Int32Array;
  /** Bit i: the label of token i is its id, or what is in `labels`; else −100. */
  readonly trained: Uint8Array;
  /** Only where a label is neither −100 nor its token's id. */
  labels: Int32Array | undefined;
  used: number;
}

/** A block in the temporary file: byte offsets of its ids and of its labels. */
interface SpilledBlock {
  readonly file: SpillFile;
  readonly ids: number;
  readonly labels: number;
}

/**
 * Samples in memory at 4⅛ bytes a token and 12 bytes a sample; above a limit in a temporary file. Samples are read back as they were
 * put in, in any order.
 */
export class TokenStore implements Disposable {
  #blocks: (Block | SpilledBlock)[] = [];
  /** The block that is being filled: the last one. */
  #current: Block | undefined;
  /** Per sample: its block, its first token there, and its number of tokens. */
  #places = new GrowingIntegers();
  #starts = new GrowingIntegers();
  #lengths = new GrowingIntegers();
  readonly #memoryLimit: number;
  #bytes = 0;
  #spill: SpillFile | undefined;

  /** @param memoryLimit bytes of blocks to keep in memory */
  constructor(memoryLimit: number) {
    this.#memoryLimit = memoryLimit;
  }

  /** Number of samples. */
  get length(): number {
    return this.#lengths.length;
  }

  /** Tokens of every sample: int32 [samples], a view. */
  get lengths(): Int32Array {
    return this.#lengths.values();
  }

  /** Bytes in the temporary file. */
  get spilledBytes(): number {
    return this.#spill?.size ?? 0;
  }

  push({ inputIds, labels }: Sample): void {
    const block = this.#blockFor(inputIds.length);
    const start = block.used;
    block.ids.set(inputIds, start);
    for (let i = 0; i < inputIds.length; i++) {
      const label = labels[i]!;
      if (label === IGNORE_INDEX) continue;
      const at = start + i;
      block.trained[at >> 3]! |= 1 << (at & 7);
      if (label !== inputIds[i]) block.labels ??= this.#ownLabels(block);
    }
    block.labels?.set(labels, start);
    block.used += inputIds.length;
    this.#places.push(this.#blocks.length - 1);
    this.#starts.push(start);
    this.#lengths.push(inputIds.length);
  }

  /** Sample `index`: fresh arrays. */
  sample(index: number): Sample {
    if (!Number.isInteger(index) || index < 0 || index >= this.length) {
      const expected = `a sample from 0 to ${this.length - 1}`;
      throw new DatasetError("no such sample", {}, { expected, found: String(index) });
    }
    const place = this.#places.at(index);
    const start = this.#starts.at(index);
    const length = this.#lengths.at(index);
    const block = this.#blocks[place]!;
    if ("file" in block) {
      return {
        inputIds: block.file.read(block.ids + 4 * start, length),
        labels: block.file.read(block.labels + 4 * start, length),
      };
    }
    const inputIds = block.ids.slice(start, start + length);
    return { inputIds, labels: unpackLabels(inputIds, block.trained, start, block.labels?.subarray(start)) };
  }

  /** Number of tokens of sample `index`. */
  sampleLength(index: number): number {
    return this.#lengths.at(index);
  }

  /** Frees the memory and removes the temporary file. */
  [Symbol.dispose](): void {
    this.#blocks = [];
    this.#current = undefined;
    this.#places = new GrowingIntegers();
    this.#starts = new GrowingIntegers();
    this.#lengths = new GrowingIntegers();
    this.#spill?.[Symbol.dispose]();
  }

  #blockFor(tokens: number): Block {
    const last = this.#current;
    if (last !== undefined && last.used + tokens <= last.ids.length) return last;
    if (last !== undefined && this.#bytes > this.#memoryLimit) this.#spillBlock(last);
    const capacity = Math.max(tokens, BLOCK_TOKENS);
    const block: Block = {
      ids: new Int32Array(capacity),
      trained: new Uint8Array((capacity + 7) >> 3),
      labels: undefined,
      used: 0,
    };
    this.#bytes += sizeOf(block);
    this.#blocks.push(block);
    this.#current = block;
    return block;
  }

  /** Moves the last block to the temporary file. */
  #spillBlock(block: Block): void {
    const spill = (this.#spill ??= new SpillFile());
    const ids = block.ids.subarray(0, block.used);
    const labels = unpackLabels(ids, block.trained, 0, block.labels);
    this.#blocks[this.#blocks.length - 1] = { file: spill, ids: spill.append(ids), labels: spill.append(labels) };
    this.#bytes -= sizeOf(block);
  }

  /** Labels of the block's earlier samples, written out. */
  #ownLabels(block: Block): Int32Array {
    const labels = new Int32Array(block.ids.length);
    labels.set(unpackLabels(block.ids.subarray(0, block.used), block.trained, 0, undefined));
    this.#bytes += labels.byteLength;
    return labels;
  }
}

function sizeOf(block: Block): number {
  return block.ids.byteLength + block.trained.byteLength + (block.labels?.byteLength ?? 0);
}

/** @param firstBit bit of the first id */
function unpackLabels(ids: Int32Array, trained: Uint8Array, firstBit: number, own: Int32Array | undefined): Int32Array {
  const labels = new Int32Array(ids.length);
  for (let i = 0; i < ids.length; i++) {
    const bit = firstBit + i;
    const keeps = ((trained[bit >> 3]! >> (bit & 7)) & 1) === 1;
    labels[i] = keeps ? (own === undefined ? ids[i]! : own[i]!) : IGNORE_INDEX;
  }
  return labels;
}
