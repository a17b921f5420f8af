import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { DatasetError, reasonOf } from "./errors.ts";

/** A file read by position. It is opened when needed and may be closed at any time. */
export class FileBytes {
  readonly path: string;
  /** Size in bytes when the file was first opened. */
  readonly size: number;
  #descriptor: number | undefined;

  constructor(path: string) {
    this.path = path;
    const descriptor = this.#open();
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) {
      this.close();
      throw new DatasetError("cannot be read", { file: path }, { expected: "a file", found: "something else" });
    }
    this.size = stat.size;
  }

  /** Fills `target` with the bytes from `position` on. */
  readInto(target: Uint8Array, position: number): void {
    const descriptor = this.#open();
    let done = 0;
    while (done < target.length) {
      let count: number;
      try {
        count = readSync(descriptor, target, done, target.length - done, position + done);
      } catch (error) {
        throw new DatasetError("cannot be read", { file: this.path }, { found: reasonOf(error), cause: error });
      }
      if (count === 0) {
        throw new DatasetError(
          "ends too early",
          { file: this.path },
          { expected: `${position + target.length} bytes`, found: `${position + done}; did it change while in use?` },
        );
      }
      done += count;
    }
  }

  /** A copy of the bytes from `start` to `end` (exclusive). */
  read(start: number, end: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(end - start);
    this.readInto(bytes, start);
    return bytes;
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #open(): number {
    try {
      this.#descriptor ??= openSync(this.path, "r");
    } catch (error) {
      throw new DatasetError("cannot be opened", { file: this.path }, { found: reasonOf(error), cause: error });
    }
    return this.#descriptor;
  }
}
