import type { Tensor } from "@fms-accel/tensor";

import { type Append, writeFileAtomically } from "../files/atomic-write.ts";
import { elementSize, storedName } from "./dtypes.ts";
import { LENGTH_BYTES } from "./header.ts";

/** What Hugging Face's loaders want to find in the metadata of weights. */
export const PYTORCH_METADATA: Readonly<Record<string, string>> = { format: "pt" };

/** Bytes that a tensor takes in a file. */
export function storedBytes(tensor: Tensor): number {
  return tensor.numel * elementSize(tensor.dtype);
}

/**
 * Writes tensors as Hugging Face's library does: wide elements first, then by name, and the header padded so that the data
 * begins at a multiple of 8: every tensor is then aligned to its elements.
 */
export function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>> = PYTORCH_METADATA,
): void {
  const inOrder = [...tensors].sort(
    ([nameA, a], [nameB, b]) => elementSize(b.dtype) - elementSize(a.dtype) || compareBytes(nameA, nameB),
  );
  const header: [string, unknown][] = [];
  if (Object.keys(metadata).length > 0) {
    header.push(["__metadata__", metadata]);
  }
  let offset = 0;
  for (const [name, tensor] of inOrder) {
    const end = offset + storedBytes(tensor);
    header.push([name, { dtype: storedName(tensor.dtype), shape: tensor.shape, data_offsets: [offset, end] }]);
    offset = end;
  }
  writeFileAtomically(path, (append) => {
    appendHeader(append, header);
    for (const [, tensor] of inOrder) {
      append(tensor.toBytes());
    }
  });
}

/** Written entry by entry: an object would put names that look like numbers first. */
function appendHeader(append: Append, header: readonly [string, unknown][]): void {
  const json = `{${header.map(([name, entry]) => `${JSON.stringify(name)}:${JSON.stringify(entry)}`).join(",")}}`;
  const text = Buffer.from(json, "utf8");
  const padded = Buffer.alloc(Math.ceil(text.byteLength / 8) * 8, " ");
  text.copy(padded);
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeBigUInt64LE(BigInt(padded.byteLength));
  append(length);
  append(padded);
}

/** Order of the names as UTF-8, which is what the reference sorts by. */
function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a, "utf8"), Buffer.from(b, "utf8"));
}
