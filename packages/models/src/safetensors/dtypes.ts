import type { DType } from "@fms-accel/tensor";

/** What a dtype name of the safetensors format means: bits of an element, and the engine's dtype where there is one. */
export interface StoredDType {
  readonly bits: number;
  readonly dtype: DType | undefined;
}

/** All dtype names of the format (safetensors 0.8). Those without a `dtype` can be listed but not opened. */
const STORED_DTYPES: ReadonlyMap<string, StoredDType> = new Map<string, StoredDType>([
  ["F32", { bits: 32, dtype: "float32" }],
  ["BF16", { bits: 16, dtype: "bfloat16" }],
  ["F16", { bits: 16, dtype: "float16" }],
  ["I32", { bits: 32, dtype: "int32" }],
  ["I64", { bits: 64, dtype: "int64" }],
  ["U8", { bits: 8, dtype: "uint8" }],
  ["BOOL", { bits: 8, dtype: "bool" }],
  ["F64", { bits: 64, dtype: undefined }],
  ["C64", { bits: 64, dtype: undefined }],
  ["I8", { bits: 8, dtype: undefined }],
  ["I16", { bits: 16, dtype: undefined }],
  ["U16", { bits: 16, dtype: undefined }],
  ["U32", { bits: 32, dtype: undefined }],
  ["U64", { bits: 64, dtype: undefined }],
  ["F8_E5M2", { bits: 8, dtype: undefined }],
  ["F8_E4M3", { bits: 8, dtype: undefined }],
  ["F8_E8M0", { bits: 8, dtype: undefined }],
  ["F6_E2M3", { bits: 6, dtype: undefined }],
  ["F6_E3M2", { bits: 6, dtype: undefined }],
  ["F4", { bits: 4, dtype: undefined }],
]);

const NAMES: ReadonlyMap<DType, string> = new Map(
  [...STORED_DTYPES].flatMap(([name, { dtype }]) => (dtype === undefined ? [] : [[dtype, name] as const])),
);

/** The meaning of a dtype name in a header, or undefined if the format has no such name. */
export function storedDType(name: string): StoredDType | undefined {
  return STORED_DTYPES.get(name);
}

/** The names of the format that can be opened as tensors, for messages. */
export function supportedDTypeNames(): string[] {
  return [...NAMES.values()];
}

/** The format's name of an engine dtype. */
export function storedName(dtype: DType): string {
  return NAMES.get(dtype)!;
}

/** Bytes of one element of an engine dtype. */
export function elementSize(dtype: DType): number {
  return STORED_DTYPES.get(storedName(dtype))!.bits / 8;
}
