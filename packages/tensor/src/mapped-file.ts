import { type DType, dtypeCode, itemSize } from "./dtype.ts";
import { native } from "./native.ts";
import { keep } from "./scope.ts";
import { Tensor } from "./tensor.ts";

/** A part of a file can begin at any multiple of this: a multiple of every system's page size, and of every item size. */
const PART_ALIGNMENT = 2 ** 16;

/** Which bytes of a file are mapped. */
export interface FilePart {
  readonly begin: number;
  readonly end: number;
}

/** A file whose bytes are tensors without a copy. Made by `openMappedFile`. */
export class MappedFile implements Disposable {
  readonly path: string;
  readonly #bytes: Tensor;
  /** Where in the file the mapped bytes begin. */
  readonly #begin: number;

  /** @internal */
  constructor(path: string, bytes: Tensor, begin: number) {
    this.path = path;
    this.#bytes = bytes;
    this.#begin = begin;
  }
  /** Bytes up to the end of what is mapped: of the file, where that is all of it. */
  get size(): number {
    return this.#begin + (this.#bytes.shape[0] as number);
  }
  /**
   * The elements from `byteOffset` on as a read-only tensor; it keeps the mapping alive after `close`. An offset that is no multiple
   * of the item size gives a copy. Throws TensorError when it reaches beyond what is mapped.
   */
  tensor(byteOffset: number, shape: readonly number[], dtype: DType): Tensor {
    if (byteOffset % itemSize(dtype) === 0) {
      return new Tensor(native.viewBytes(this.#bytes.handle, byteOffset - this.#begin, shape, dtypeCode(dtype)));
    }
    const count = shape.reduce((product, size) => product * size, 1) * itemSize(dtype);
    return new Tensor(native.fromBytes(this.bytes(byteOffset, count), shape, dtypeCode(dtype), 0));
  }
  /** A copy of `length` bytes. */
  bytes(byteOffset: number, length: number): Uint8Array {
    const view = native.viewBytes(this.#bytes.handle, byteOffset - this.#begin, [length], dtypeCode("uint8"));
    try {
      return new Uint8Array(native.readBytes(view));
    } finally {
      native.release(view);
    }
  }
  /** Gives up this file; tensors that were taken from it stay valid. */
  close(): void {
    this.#bytes.dispose();
  }
  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Maps a file into memory, or a part of it. What was read of it stays in memory as long as any tensor of it: those of a part that is mapped
 * alone go alone. Throws TensorError when it cannot be opened, is no regular file, or has no such part.
 */
export function openMappedFile(path: string, { begin, end }: Partial<FilePart> = {}): MappedFile {
  const start = begin === undefined ? 0 : Math.floor(begin / PART_ALIGNMENT) * PART_ALIGNMENT;
  return new MappedFile(
    path,
    keep(new Tensor(native.mapFile(path, start, end === undefined ? -1 : end - start))),
    start,
  );
}
