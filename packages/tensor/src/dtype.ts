import { TensorError } from "./errors.ts";

/** Element types. Floating ones hold gradients. */
export type DType = "float32" | "bfloat16" | "float16" | "int32" | "int64" | "uint8" | "bool";

// In the order of the native enumeration (native/engine/dtype.h).
export const DTYPES: readonly DType[] = ["float32", "bfloat16", "float16", "int32", "int64", "uint8", "bool"];
const ITEM_SIZES: readonly number[] = [4, 2, 2, 4, 8, 1, 1];

/** The number of a dtype at the native boundary. Throws TensorError for an unknown name. */
export function dtypeCode(dtype: DType): number {
  const code = DTYPES.indexOf(dtype);
  if (code < 0) throw new TensorError(`unknown dtype ${JSON.stringify(dtype)}; expected one of ${DTYPES.join(", ")}`);
  return code;
}

/** Bytes of one element. */
export function itemSize(dtype: DType): number {
  return ITEM_SIZES[dtypeCode(dtype)] ?? 0;
}

export function isFloating(dtype: DType): boolean {
  return dtype === "float32" || dtype === "bfloat16" || dtype === "float16";
}
