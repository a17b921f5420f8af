import { backward, type TapeNode } from "./autograd/tape.ts";
import { type Device, deviceCode, deviceName } from "./device.ts";
import { DTYPES, type DType, dtypeCode } from "./dtype.ts";
import { TensorError } from "./errors.ts";
import { type Handle, native, record, RECORD_SHAPE, RECORD_STRIDES } from "./native.ts";
import { BINARY } from "./ops/operation-codes.ts";
import { releaseHandle } from "./release.ts";
import { track, untrack } from "./scope.ts";

/** Typed arrays whose elements correspond to a dtype one to one (BigInt64Array: int64). */
export type TypedArray = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array | Uint16Array;

// Tensors that no scope owns are released when JavaScript forgets them.
const forgotten = new FinalizationRegistry<Handle>((handle) => {
  native.reportMemory(handle, false);
  native.release(handle);
});

/**
 * An n-dimensional array on a device: a strided view of native memory. Operations are free functions (`add(x, y)`);
 * methods only read data, and run backward.
 */
export class Tensor implements Disposable {
  /** The native handle: what plugin addons resolve through the C ABI. */
  readonly handle: Handle;
  readonly dtype: DType;
  readonly device: Device;
  readonly shape: readonly number[];
  /** In elements. */
  readonly strides: readonly number[];
  /** Elements from the start of the storage. */
  readonly offset: number;
  /** Whether operations on this tensor are recorded. Set it on leaves only. */
  requiresGrad = false;
  /** The gradient that `backward` accumulated; leaves only. */
  grad: Tensor | undefined = undefined;
  /** @internal The operation that made this tensor, when it was recorded. */
  node: TapeNode | undefined = undefined;
  /** @internal Which of the node's outputs this is. */
  outputIndex = 0;
  // Owners: its scope (or the caller), and each tape node or gradient slot that needs it.
  #owners = 1;
  #registered = false;

  /** @internal Takes over a handle that the native engine has just made. */
  constructor(handle: Handle) {
    if (record[0] !== handle) native.describe(handle);
    this.handle = handle;
    this.dtype = DTYPES[record[1] as number] as DType;
    this.device = deviceName(record[2] as number, record[3] as number);
    this.offset = record[4] as number;
    const ndim = record[5] as number;
    // Loops: decoding makes a thousand tensors for every token.
    const shape: number[] = [];
    const strides: number[] = [];
    for (let d = 0; d < ndim; d++) {
      shape.push(record[RECORD_SHAPE + d] as number);
      strides.push(record[RECORD_STRIDES + d] as number);
    }
    this.shape = shape;
    this.strides = strides;
    track(this);
  }

  get ndim(): number {
    return this.shape.length;
  }
  get numel(): number {
    let count = 1;
    for (const size of this.shape) count *= size;
    return count;
  }
  get isContiguous(): boolean {
    let expected = 1;
    for (let d = this.ndim - 1; d >= 0; d--) {
      const size = this.shape[d] as number;
      if (size !== 1 && this.strides[d] !== expected) return this.numel === 0;
      expected *= size;
    }
    return true;
  }
  get isDisposed(): boolean {
    return this.#owners === 0;
  }
  /** Whether `backward` stops here and accumulates into `grad`. */
  get isLeaf(): boolean {
    return this.node === undefined;
  }

  /**
   * Accumulates the gradient of this tensor into `grad` of every leaf that it was computed from, and frees the tape.
   * `gradient` (same shape) defaults to 1 for a tensor of one element. Throws TensorError when nothing was recorded.
   */
  backward(gradient?: Tensor): void {
    backward(this, gradient);
  }

  /** The same data without its history. */
  detach(): Tensor {
    return new Tensor(native.alias(this.handle));
  }

  /** The value of a tensor of one element. int64 beyond 2^53 loses precision. */
  item(): number {
    if (this.numel !== 1) throw new TensorError(`item: expected one element, found shape [${this.shape.join(", ")}]`);
    return Number(this.#read()[0]);
  }
  /** All elements in row-major order, converted to float32. */
  toFloat32Array(): Float32Array {
    return new Float32Array(this.#converted("float32"));
  }
  /** All elements in row-major order, converted to int32 (floats are truncated towards zero, and saturate). */
  toInt32Array(): Int32Array {
    return new Int32Array(this.#converted("int32"));
  }
  /** All elements in row-major order, as numbers (int64 beyond 2^53 loses precision). */
  toArray(): number[] {
    return Array.from(this.#read() as ArrayLike<number | bigint>, Number);
  }
  /** The bytes of the elements in row-major order, little endian; a copy. */
  toBytes(): Uint8Array {
    return new Uint8Array(native.readBytes(this.handle));
  }
  /**
   * Overwrites this tensor, converting to its dtype and moving to its device. A tensor source broadcasts to this shape; a typed array must have
   * as many elements. Not recorded: for loading and in-place updates.
   */
  copyFrom(source: Tensor | TypedArray): void {
    if (source instanceof Tensor && source.device === this.device) {
      native.copyInto(this.handle, source.handle);
      return;
    }
    if (!(source instanceof Tensor)) {
      const { array, dtype } = storable(source);
      if (dtype === this.dtype && array.length === this.numel && this.isContiguous) {
        native.writeBytes(this.handle, array);
        return;
      }
    }
    const device = deviceCode(this.device);
    const temporary =
      source instanceof Tensor ? native.toDevice(source.handle, device) : this.#uploaded(source, device);
    try {
      native.copyInto(this.handle, temporary);
    } finally {
      native.release(temporary);
    }
  }

  /** Gives up the caller's ownership; memory that backward still needs lives on until backward has run. */
  dispose(): void {
    if (this.#owners === 0) return;
    untrack(this);
    this.releaseOwner();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal One more owner. */
  addOwner(): this {
    if (this.#owners === 0)
      throw new TensorError("this tensor was disposed; keep it with keep(), or return it from the scope");
    this.#owners++;
    return this;
  }
  /** @internal One owner less; the last one frees the memory. */
  releaseOwner(): void {
    if (--this.#owners > 0) return;
    if (this.#registered) {
      forgotten.unregister(this);
      native.reportMemory(this.handle, false);
    }
    releaseHandle(this.handle);
    this.node?.release();
    this.node = undefined;
    this.grad?.dispose();
    this.grad = undefined;
  }
  /** @internal Whether one owner holds this tensor and no other tensor views its memory, so that it may be written to. */
  get isExclusive(): boolean {
    return this.#owners === 1 && native.isExclusive(this.handle);
  }
  /** @internal this + other, not recorded. */
  plus(other: Tensor): Tensor {
    return new Tensor(native.binary(BINARY.add, this.handle, other.handle));
  }
  /** @internal A contiguous copy, not recorded. */
  copy(dtype: DType = this.dtype): Tensor {
    const result = new Tensor(native.empty(this.shape, dtypeCode(dtype), deviceCode(this.device)));
    native.copyInto(result.handle, this.handle);
    return result;
  }
  /** @internal A new tensor of this shape and dtype. */
  filledLike(value: number): Tensor {
    const result = new Tensor(native.empty(this.shape, dtypeCode(this.dtype), deviceCode(this.device)));
    native.fill(result.handle, value);
    return result;
  }
  /** @internal Called when no scope owns this tensor. */
  registerForCollection(): void {
    if (this.#registered) return;
    this.#registered = true;
    forgotten.register(this, this.handle, this);
    native.reportMemory(this.handle, true);
  }

  toString(): string {
    return `Tensor([${this.shape.join(", ")}], ${this.dtype}, ${this.device})`;
  }

  #uploaded(source: TypedArray, device: number): Handle {
    const { array, dtype } = storable(source);
    return native.fromBytes(array, this.shape, dtypeCode(dtype), device);
  }
  #converted(dtype: DType): ArrayBuffer {
    if (this.dtype === dtype) return native.readBytes(this.handle);
    const temporary = native.cast(this.handle, dtypeCode(dtype));
    try {
      return native.readBytes(temporary);
    } finally {
      native.release(temporary);
    }
  }
  #read(): ArrayLike<number> | BigInt64Array {
    switch (this.dtype) {
      case "int64":
        return new BigInt64Array(native.readBytes(this.handle));
      case "int32":
        return this.toInt32Array();
      case "uint8":
      case "bool":
        return this.toBytes();
      default:
        return this.toFloat32Array();
    }
  }
}

/** The dtype that a typed array is stored with; Float64Array is rounded to float32. */
export function storable(array: TypedArray): { array: TypedArray; dtype: DType } {
  if (array instanceof Float64Array) return { array: Float32Array.from(array), dtype: "float32" };
  if (array instanceof Float32Array) return { array, dtype: "float32" };
  if (array instanceof Int32Array) return { array, dtype: "int32" };
  if (array instanceof BigInt64Array) return { array, dtype: "int64" };
  if (array instanceof Uint8Array) return { array, dtype: "uint8" };
  if (array instanceof Uint16Array) return { array: Int32Array.from(array), dtype: "int32" };
  throw new TensorError("expected a Float32Array, Float64Array, Int32Array, BigInt64Array, Uint8Array or Uint16Array");
}
