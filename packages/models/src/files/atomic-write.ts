import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** Appends bytes to the file being written. */
export type Append = (bytes: Uint8Array) => void;

/**
 * Writes a file so that a reader, or a crash at any instant, finds the old file or the whole new one: the bytes go to a
 * temporary file in the same directory, are flushed to disk, and the name is switched last.
 */
export function writeFileAtomically(path: string, body: (append: Append) => void): void {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  const descriptor = openSync(temporary, "w");
  try {
    body((bytes) => {
      for (let written = 0; written < bytes.byteLength;) {
        written += writeSync(descriptor, bytes, written, bytes.byteLength - written);
      }
    });
    fsyncSync(descriptor);
  } catch (error) {
    closeSync(descriptor);
    rmSync(temporary, { force: true });
    throw error;
  }
  closeSync(descriptor);
  renameSync(temporary, path);
  flushDirectory(dirname(path));
}

/** Writes a text file atomically, see `writeFileAtomically`. */
export function writeTextAtomically(path: string, text: string): void {
  writeFileAtomically(path, (append) => append(Buffer.from(text, "utf8")));
}

/** Makes the rename itself durable. Directories cannot be flushed on some systems (Windows): there it is left out. */
function flushDirectory(path: string): void {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch {
    return;
  }
  try {
    fsyncSync(descriptor);
  } catch {
    // not supported for directories here
  } finally {
    closeSync(descriptor);
  }
}
