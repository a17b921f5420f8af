import { type DType, noGrad, reshape, scope, slice, type Tensor } from "@fms-accel/tensor";

import { type Append, writeFileAtomically } from "../files/atomic-write.ts";
import { elementSize, storedName } from "./dtypes.ts";
import { LENGTH_BYTES } from "./header.ts";

/** What Hugging Face's loaders want to find in the metadata of weights. */
export const PYTORCH_METADATA: Readonly<Record<string, string>> = { format: "pt" };

/** What is copied at a time. */
const PIECE_BYTES = 4 * 2 ** 20;

/** A tensor that is made when its turn to be written comes, and disposed of when it is written. */
export interface PendingTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly numel: number;
  readonly compute: () => Tensor;
}

/** What can be written. */
export type StorableTensor = Tensor | PendingTensor;

/** Bytes that a tensor takes in a file. */
export function storedBytes(tensor: StorableTensor): number {
  return tensor.numel * elementSize(tensor.dtype);
}

/**
 * Writes tensors as Hugging Face's library does: wide elements first, then by name, and the header padded so that the data
 * begins at a multiple of 8: every tensor is then aligned to its elements.
 */
export function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, StorableTensor>,
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
      if ("compute" in tensor) {
        using computed = tensor.compute();
        appendTensor(append, computed);
      } else {
        appendTensor(append, tensor);
      }
    }
  });
}

/** A piece at a time: a copy of a whole tensor would stand beside the model until it is collected. */
function appendTensor(append: Append, tensor: Tensor): void {
  const step = Math.max(1, Math.floor(PIECE_BYTES / elementSize(tensor.dtype)));
  if (tensor.numel <= step) {
    append(tensor.toBytes());
    return;
  }
  noGrad(() =>
    scope(() => {
      const flat = reshape(tensor, [tensor.numel]);
      for (let start = 0; start < tensor.numel; start += step) {
        append(scope(() => slice(flat, 0, start, Math.min(start + step, tensor.numel)).toBytes()));
      }
    }),
  );
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
