import { type DType, dtypeCode, itemSize } from "./dtype.ts";
import { native } from "./native.ts";
import { keep } from "./scope.ts";
import { Tensor } from "./tensor.ts";

/** A file whose bytes are tensors without a copy. Made by `openMappedFile`. */
export class MappedFile implements Disposable {
  readonly path: string;
  readonly #bytes: Tensor;

  /** @internal */
  constructor(path: string, bytes: Tensor) {
    this.path = path;
    this.#bytes = bytes;
  }
  /** Bytes of the file. */
  get size(): number {
    return this.#bytes.shape[0] as number;
  }
  /**
   * The elements from `byteOffset` on as a read-only tensor; it keeps the mapping alive after `close`. An offset that is no multiple
   * of the item size gives a copy. Throws TensorError when it reaches beyond the end of the file.
   */
  tensor(byteOffset: number, shape: readonly number[], dtype: DType): Tensor {
    if (byteOffset % itemSize(dtype) === 0) {
      return new Tensor(native.viewBytes(this.#bytes.handle, byteOffset, shape, dtypeCode(dtype)));
    }
    const count = shape.reduce((product, size) => product * size, 1) * itemSize(dtype);
    return new Tensor(native.fromBytes(this.bytes(byteOffset, count), shape, dtypeCode(dtype), 0));
  }
  /** A copy of `length` bytes. */
  bytes(byteOffset: number, length: number): Uint8Array {
    const view = native.viewBytes(this.#bytes.handle, byteOffset, [length], dtypeCode("uint8"));
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

/** Maps a file into memory. Throws TensorError when it cannot be opened or is no regular file. */
export function openMappedFile(path: string): MappedFile {
  return new MappedFile(path, keep(new Tensor(native.mapFile(path))));
}
