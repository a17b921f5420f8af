import { DatasetError } from "./errors.ts";
import type { FileBytes } from "./file-bytes.ts";
import { END_OF_FILE, JsonScanner } from "./json-scanner.ts";
import { RowIndex } from "./row-index.ts";

const NEWLINE = 0x0a;
const BLOCK_BYTES = 1 << 20;

/**
 * Finds the rows of a JSON text in one pass, whatever the file is called: a list of objects, an object with the list under
 * `"data"`, or one object a line (JSON Lines; blank lines are no rows).
 */
export function indexJsonFile(file: FileBytes): RowIndex {
  const start = skipByteOrderMark(file);
  const scanner = new JsonScanner(file, start);
  const first = scanner.peek();
  if (first === END_OF_FILE) return new RowIndex();
  if (first === 0x5b) return indexList(file, scanner);
  if (first === 0x7b && isOneValue(file, start)) {
    const rows = indexDataObject(file, scanner);
    if (rows !== undefined) return rows;
    const whole = new JsonScanner(file, start);
    whole.peek();
    const single = new RowIndex();
    single.push(whole.position, file.size, whole.line);
    return single;
  }
  return indexLines(file, start);
}

/** Where the text begins; other encodings than UTF-8 that mark themselves are an error. */
function skipByteOrderMark(file: FileBytes): number {
  const head = file.read(0, Math.min(4, file.size));
  if ((head[0] === 0xff && head[1] === 0xfe) || (head[0] === 0xfe && head[1] === 0xff)) {
    throw new DatasetError("wrong encoding", { file: file.path }, { expected: "UTF-8", found: "UTF-16" });
  }
  if (head[0] === 0x1f && head[1] === 0x8b) {
    throw new DatasetError(
      "compressed",
      { file: file.path },
      { expected: "text", found: "gzip", hint: "unpack it first" },
    );
  }
  return head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf ? 3 : 0;
}

/** Whether the text is a single JSON value: an object a line has more after the first. Damage is left to the line reader. */
function isOneValue(file: FileBytes, start: number): boolean {
  const scanner = new JsonScanner(file, start);
  try {
    scanner.skipValue();
    return scanner.peek() === END_OF_FILE;
  } catch (error) {
    if (error instanceof DatasetError) return false;
    throw error;
  }
}

/** `[row, row, …]` from the scanner's position to the closing bracket. */
function readList(scanner: JsonScanner): RowIndex {
  const rows = new RowIndex();
  scanner.take("[");
  if (scanner.peek() === 0x5d) {
    scanner.take("]");
    return rows;
  }
  for (;;) {
    scanner.peek();
    const start = scanner.position;
    const line = scanner.line;
    scanner.skipValue();
    rows.push(start, scanner.position, line);
    if (scanner.peek() === 0x5d) break;
    scanner.take(",");
  }
  scanner.take("]");
  return rows;
}

function indexList(file: FileBytes, scanner: JsonScanner): RowIndex {
  const rows = readList(scanner);
  if (scanner.peek() !== END_OF_FILE) {
    throw new DatasetError(
      "text behind the list of rows",
      { file: file.path, line: scanner.line },
      { hint: "a file holds one list, or one object a line" },
    );
  }
  return rows;
}

/** The rows of `{…, "data": [row, …], …}`; undefined where there is no such list. */
function indexDataObject(file: FileBytes, scanner: JsonScanner): RowIndex | undefined {
  let rows: RowIndex | undefined;
  scanner.take("{");
  while (scanner.peek() !== 0x7d) {
    const line = scanner.line;
    const key = scanner.takeString();
    scanner.take(":");
    if (key === "data" && scanner.peek() === 0x5b) {
      if (rows !== undefined) {
        throw new DatasetError('key "data" comes twice', { file: file.path, line });
      }
      rows = readList(scanner);
    } else {
      scanner.skipValue();
    }
    if (scanner.peek() === 0x2c) scanner.take(",");
    else if (scanner.peek() !== 0x7d) scanner.fail('"," or "}"');
  }
  return rows;
}

function indexLines(file: FileBytes, start: number): RowIndex {
  const rows = new RowIndex();
  const block = new Uint8Array(Math.max(1, Math.min(BLOCK_BYTES, file.size - start)));
  let lineStart = start;
  let line = 1;
  let blank = true;
  for (let position = start; position < file.size;) {
    const count = Math.min(block.length, file.size - position);
    const bytes = block.subarray(0, count);
    file.readInto(bytes, position);
    for (let from = 0; from < count;) {
      const found = bytes.indexOf(NEWLINE, from);
      const to = found === -1 ? count : found;
      blank &&= isBlank(bytes, from, to);
      if (found === -1) break;
      if (!blank) rows.push(lineStart, position + to, line);
      line += 1;
      lineStart = position + to + 1;
      blank = true;
      from = to + 1;
    }
    position += count;
  }
  if (!blank) rows.push(lineStart, file.size, line);
  return rows;
}

function isBlank(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    const byte = bytes[i]!;
    if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d) return false;
  }
  return true;
}
