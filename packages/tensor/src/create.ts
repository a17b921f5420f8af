import { checkDevice, defaultDevice, type Device, deviceCode } from "./device.ts";
import { type DType, dtypeCode } from "./dtype.ts";
import { TensorError } from "./errors.ts";
import { native } from "./native.ts";
import { storable, Tensor, type TypedArray } from "./tensor.ts";

export interface TensorOptions {
  /** Default: "float32" for creation by value; for `tensor`, that of the data. */
  dtype?: DType;
  /** Default: `defaultDevice()`. */
  device?: Device;
  requiresGrad?: boolean;
}

/** Numbers nested to any depth; all lists of one level have the same length. */
export type NestedNumbers = number | readonly NestedNumbers[];

function finish(tensor: Tensor, options: TensorOptions): Tensor {
  tensor.requiresGrad = options.requiresGrad ?? false;
  return tensor;
}

/** A contiguous tensor with undefined contents. */
export function empty(shape: readonly number[], options: TensorOptions = {}): Tensor {
  const device = deviceCode(checkDevice(options.device ?? defaultDevice()));
  return finish(new Tensor(native.empty(shape, dtypeCode(options.dtype ?? "float32"), device)), options);
}

/** A tensor whose elements are all `value`. */
export function full(shape: readonly number[], value: number, options: TensorOptions = {}): Tensor {
  const result = empty(shape, options);
  native.fill(result.handle, value);
  return result;
}

export function zeros(shape: readonly number[], options: TensorOptions = {}): Tensor {
  return full(shape, 0, options);
}

export function ones(shape: readonly number[], options: TensorOptions = {}): Tensor {
  return full(shape, 1, options);
}

/** start, start + step, … below end; computed in float64, then rounded. int32 unless a dtype is given. */
export function arange(start: number, end: number, step: number = 1, options: TensorOptions = {}): Tensor {
  if (!(step !== 0 && Number.isFinite((end - start) / step)))
    throw new TensorError(`arange(${start}, ${end}, ${step})`);
  const count = Math.max(0, Math.ceil((end - start) / step));
  const values = Float64Array.from({ length: count }, (_, i) => start + i * step);
  const dtype = options.dtype ?? "int32";
  return tensor(dtype.startsWith("int") ? Int32Array.from(values) : values, { ...options, dtype });
}

function shapeOf(data: NestedNumbers): number[] {
  if (typeof data === "number") return [];
  const first = data[0];
  return [data.length, ...(first === undefined ? [] : shapeOf(first))];
}

function flatten(data: NestedNumbers, shape: readonly number[], into: number[]): void {
  if (typeof data === "number") {
    if (shape.length > 0)
      throw new TensorError("tensor: the lists are ragged: a number stands where a list was expected");
    into.push(data);
    return;
  }
  if (data.length !== shape[0]) {
    throw new TensorError(
      `tensor: the lists are ragged: found ${data.length} elements where ${shape[0] ?? "a number"} was expected`,
    );
  }
  for (const element of data) flatten(element, shape.slice(1), into);
}

/**
 * A tensor from numbers, nested lists (float32 unless `dtype` says otherwise) or a typed array (its own dtype; `shape` defaults
 * to one dimension). Throws TensorError for ragged lists and for a shape that does not fit.
 */
export function tensor(
  data: NestedNumbers | TypedArray,
  options: TensorOptions & { shape?: readonly number[] } = {},
): Tensor {
  const device = deviceCode(checkDevice(options.device ?? defaultDevice()));
  let source: TypedArray;
  let shape = options.shape;
  let wanted = options.dtype;
  if (typeof data === "number" || Array.isArray(data)) {
    const nested = data as NestedNumbers;
    const values: number[] = [];
    const nestedShape = shapeOf(nested);
    flatten(nested, nestedShape, values);
    shape ??= nestedShape;
    wanted ??= "float32";
    source =
      wanted === "int64"
        ? BigInt64Array.from(values, (value) => BigInt(Math.trunc(value)))
        : wanted === "int32"
          ? Int32Array.from(values)
          : Float64Array.from(values);
  } else {
    source = data as TypedArray;
    shape ??= [source.length];
  }
  const { array, dtype } = storable(source);
  const made = new Tensor(native.fromBytes(array, shape, dtypeCode(dtype), device));
  if (wanted === undefined || wanted === dtype) return finish(made, options);
  const converted = new Tensor(native.cast(made.handle, dtypeCode(wanted)));
  made.dispose();
  return finish(converted, options);
}

/** A tensor from the little-endian bytes of its elements in row-major order (as in safetensors). */
export function fromBytes(
  bytes: Uint8Array,
  shape: readonly number[],
  dtype: DType,
  device: Device = defaultDevice(),
): Tensor {
  return new Tensor(native.fromBytes(bytes, shape, dtypeCode(dtype), deviceCode(checkDevice(device))));
}
