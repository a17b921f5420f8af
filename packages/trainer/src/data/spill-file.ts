import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatasetError, reasonOf } from "./errors.ts";

/** Integers in a temporary file, which is removed when it is disposed of or the process ends. */
export class SpillFile implements Disposable {
  /** Bytes written. */
  size = 0;
  readonly #folder: string;
  #descriptor: number | undefined;
  readonly #atExit = (): void => this[Symbol.dispose]();

  constructor() {
    try {
      this.#folder = mkdtempSync(join(tmpdir(), "fms-accel-tokens-"));
      this.#descriptor = openSync(join(this.#folder, "tokens"), "w+");
    } catch (error) {
      throw new DatasetError(
        "no temporary file for tokens",
        { file: tmpdir() },
        { found: reasonOf(error), cause: error },
      );
    }
    process.once("exit", this.#atExit);
  }

  /** Writes the integers behind what is there, and gives the byte offset at which they begin. */
  append(values: Int32Array): number {
    const offset = this.size;
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    try {
      for (let done = 0; done < bytes.length;) {
        done += writeSync(this.#open(), bytes, done, bytes.length - done, offset + done);
      }
    } catch (error) {
      const hint = "set TMPDIR to a folder with more room";
      throw new DatasetError(
        "cannot write tokens",
        { file: this.#folder },
        { found: reasonOf(error), hint, cause: error },
      );
    }
    this.size += bytes.length;
    return offset;
  }

  /** `count` integers from byte `offset` on. */
  read(offset: number, count: number): Int32Array {
    const values = new Int32Array(count);
    const bytes = new Uint8Array(values.buffer);
    for (let done = 0; done < bytes.length;) {
      const got = readSync(this.#open(), bytes, done, bytes.length - done, offset + done);
      if (got === 0) throw new DatasetError("ends too early", { file: this.#folder });
      done += got;
    }
    return values;
  }

  [Symbol.dispose](): void {
    if (this.#descriptor === undefined) return;
    process.off("exit", this.#atExit);
    closeSync(this.#descriptor);
    this.#descriptor = undefined;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #open(): number {
    if (this.#descriptor === undefined) throw new DatasetError("the tokens were disposed of");
    return this.#descriptor;
  }
}
