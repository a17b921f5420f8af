import { readFileSync } from "node:fs";

/** A tensor of a reference file: floats widened to float32, integers as they are. */
export interface ReferenceTensor {
  dtype: string;
  shape: number[];
  data: Float32Array | Int32Array | Uint8Array;
}

function widen(bytes: Uint8Array, dtype: string): ReferenceTensor["data"] {
  // Not bytes.slice(): of a Buffer that is a view of the whole file.
  const buffer = Uint8Array.from(bytes).buffer;
  switch (dtype) {
    case "F32":
      return new Float32Array(buffer);
    case "F64":
      return Float32Array.from(new Float64Array(buffer));
    case "BF16": {
      const wide = new Uint32Array(bytes.length / 2);
      new Uint16Array(buffer).forEach((bits, i) => (wide[i] = bits << 16));
      return new Float32Array(wide.buffer);
    }
    case "F16":
      return Float32Array.from(new Uint16Array(buffer), (bits) => {
        const sign = bits & 0x8000 ? -1 : 1;
        const exponent = (bits >> 10) & 31;
        const mantissa = bits & 1023;
        if (exponent === 31) return mantissa === 0 ? sign * Infinity : NaN;
        return sign * (exponent === 0 ? mantissa * 2 ** -24 : (1 + mantissa / 1024) * 2 ** (exponent - 15));
      });
    case "I32":
      return new Int32Array(buffer);
    case "I64":
      return Int32Array.from(new BigInt64Array(buffer), Number);
    case "U8":
    case "BOOL":
      return new Uint8Array(buffer);
    default:
      throw new Error(`reference file with dtype ${dtype}`);
  }
}

/**
 * All tensors of a safetensors file, read independently of the product's reader so that the two check each other.
 */
export function readSafetensors(path: string): Map<string, ReferenceTensor> {
  const file = readFileSync(path);
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + length).toString("utf8")) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors = new Map<string, ReferenceTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [start, end] = entry.data_offsets;
    const bytes = file.subarray(8 + length + start, 8 + length + end);
    tensors.set(name, { dtype: entry.dtype, shape: entry.shape, data: widen(bytes, entry.dtype) });
  }
  return tensors;
}
