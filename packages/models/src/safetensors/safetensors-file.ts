import { closeSync, fstatSync, openSync, readSync } from "node:fs";

import { type MappedFile, openMappedFile, type Tensor } from "@fms-accel/tensor";

import { SafetensorsError } from "../errors.ts";
import { storedDType, supportedDTypeNames } from "./dtypes.ts";
import { headerLength, LENGTH_BYTES, parseHeader, type SafetensorsHeader, type TensorEntry } from "./header.ts";

/** Reads and checks the header of a safetensors file. @throws SafetensorsError naming the file and what is wrong with it */
export function readSafetensorsHeader(path: string): SafetensorsHeader {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch (error) {
    throw new SafetensorsError(`${path}: cannot be opened: ${(error as Error).message}`);
  }
  try {
    const status = fstatSync(descriptor);
    if (!status.isFile()) {
      throw new SafetensorsError(`${path}: expected a file, found a directory or device.`);
    }
    const length = headerLength(path, readBytes(descriptor, 0, Math.min(LENGTH_BYTES, status.size)), status.size);
    return parseHeader(path, readBytes(descriptor, LENGTH_BYTES, length), status.size);
  } finally {
    closeSync(descriptor);
  }
}

function readBytes(descriptor: number, position: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let read = 0;
  while (read < length) {
    const count = readSync(descriptor, bytes, read, length - read, position + read);
    if (count === 0) {
      break;
    }
    read += count;
  }
  return bytes.subarray(0, read);
}

export interface MappingOptions {
  /**
   * Map every tensor alone: what was read of it leaves memory when it is disposed of, and not when all tensors of the file are. Costs a
   * mapping for each; Linux allows 65 530 (`vm.max_map_count`). Default false.
   */
  readonly separately?: boolean | undefined;
}

/**
 * A safetensors file (https://github.com/huggingface/safetensors#format). Tensors are views of the mapped file: opening one
 * costs nothing, its bytes are read when they are used and shared with the system's file cache.
 */
export class SafetensorsFile implements Disposable {
  readonly path: string;
  readonly header: SafetensorsHeader;
  readonly #separately: boolean;
  #mapped: MappedFile | undefined;

  private constructor(path: string, header: SafetensorsHeader, separately: boolean) {
    this.path = path;
    this.header = header;
    this.#separately = separately;
    this.#mapped = undefined;
  }

  /** Reads and checks the header; the file is mapped when the first tensor is asked for. */
  static open(path: string, { separately = false }: MappingOptions = {}): SafetensorsFile {
    return new SafetensorsFile(path, readSafetensorsHeader(path), separately);
  }

  get entries(): ReadonlyMap<string, TensorEntry> {
    return this.header.entries;
  }

  /**
   * A tensor by its name: read-only memory, without a copy unless the file does not align it to its element size.
   * @throws SafetensorsError for an unknown name, and for a dtype that the engine has not
   */
  tensor(name: string): Tensor {
    const entry = this.entries.get(name);
    if (entry === undefined) {
      throw new SafetensorsError(`${this.path}: has no tensor "${name}".`);
    }
    const { dtype } = storedDType(entry.storedDType)!;
    if (dtype === undefined) {
      throw new SafetensorsError(
        `${this.path}: tensor "${name}": dtype ${entry.storedDType} cannot be used here; convert it to one of ${supportedDTypeNames().join(", ")}.`,
      );
    }
    if (this.#separately) {
      using mapped = openMappedFile(this.path, entry);
      return mapped.tensor(entry.begin, entry.shape, dtype);
    }
    this.#mapped ??= openMappedFile(this.path);
    return this.#mapped.tensor(entry.begin, entry.shape, dtype);
  }

  /** Gives up the file. Tensors that were taken from it stay valid. */
  close(): void {
    this.#mapped?.close();
    this.#mapped = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
