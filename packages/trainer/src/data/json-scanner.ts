import { DatasetError } from "./errors.ts";
import type { FileBytes } from "./file-bytes.ts";

const NEWLINE = 0x0a;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const BUFFER_BYTES = 1 << 20;

/** No byte: the end of the file. */
export const END_OF_FILE = -1;

/**
 * Walks over the values of a JSON text of any size, one megabyte at a time, to find where they begin and end. It checks the
 * structure between values; what is inside a value is checked when the value is parsed.
 */
export class JsonScanner {
  readonly #file: FileBytes;
  readonly #buffer: Uint8Array;
  /** Byte offset in the file of the buffer's first byte. */
  #bufferStart: number;
  #bufferLength = 0;
  #next = 0;
  /** Line of the next byte, from 1. */
  line = 1;

  constructor(file: FileBytes, start: number) {
    this.#file = file;
    this.#bufferStart = start;
    this.#buffer = new Uint8Array(Math.max(1, Math.min(BUFFER_BYTES, file.size - start)));
  }

  /** Byte offset of the next byte. */
  get position(): number {
    return this.#bufferStart + this.#next;
  }

  /** The next byte that is not white space, left where it is. */
  peek(): number {
    for (;;) {
      const byte = this.#peekByte();
      if (byte !== 0x20 && byte !== NEWLINE && byte !== 0x0d && byte !== 0x09) return byte;
      this.#advance(byte);
    }
  }

  /** Takes the next byte that is not white space, which must be `expected`. */
  take(expected: string): void {
    const byte = this.peek();
    if (byte !== expected.charCodeAt(0)) this.fail(`"${expected}"`);
    this.#advance(byte);
  }

  /** Takes a string and gives what is between its quotes, as it stands. */
  takeString(): string {
    if (this.peek() !== QUOTE) this.fail("a string");
    const bytes: number[] = [];
    this.#advance(QUOTE);
    for (;;) {
      const byte = this.#peekByte();
      if (byte === END_OF_FILE) this.fail("the end of a string");
      this.#advance(byte);
      if (byte === QUOTE) return new TextDecoder().decode(Uint8Array.from(bytes));
      if (bytes.length < 4096) bytes.push(byte);
      if (byte === BACKSLASH) {
        const escaped = this.#peekByte();
        if (escaped === END_OF_FILE) this.fail("the end of a string");
        this.#advance(escaped);
        if (bytes.length < 4096) bytes.push(escaped);
      }
    }
  }

  /** Goes over one value of any kind. */
  skipValue(): void {
    const first = this.peek();
    if (first === QUOTE) {
      this.takeString();
    } else if (first === 0x7b || first === 0x5b) {
      this.#skipBrackets();
    } else {
      this.#skipScalar();
    }
  }

  /** Throws: something else stands where `expected` should. */
  fail(expected: string): never {
    const byte = this.#peekByte();
    const found =
      byte === END_OF_FILE
        ? "the end of the file"
        : byte >= 0x20 && byte < 0x7f
          ? JSON.stringify(String.fromCharCode(byte))
          : `byte 0x${byte.toString(16).padStart(2, "0")}`;
    throw new DatasetError("not valid JSON", { file: this.#file.path, line: this.line }, { expected, found });
  }

  #skipBrackets(): void {
    let depth = 0;
    let inString = false;
    for (;;) {
      const byte = this.#peekByte();
      if (byte === END_OF_FILE) this.fail(inString ? "the end of a string" : "a closing bracket");
      this.#advance(byte);
      if (inString) {
        if (byte === QUOTE) {
          inString = false;
        } else if (byte === BACKSLASH) {
          const escaped = this.#peekByte();
          if (escaped !== END_OF_FILE) this.#advance(escaped);
        }
      } else if (byte === QUOTE) {
        inString = true;
      } else if (byte === 0x7b || byte === 0x5b) {
        depth += 1;
      } else if ((byte === 0x7d || byte === 0x5d) && --depth === 0) {
        return;
      }
    }
  }

  /** A number or a word: everything up to a separator. */
  #skipScalar(): void {
    const start = this.position;
    for (;;) {
      const byte = this.#peekByte();
      const separates = byte <= 0x20 || byte === 0x2c || byte === 0x3a || byte === 0x5d || byte === 0x7d;
      if (separates) break;
      this.#advance(byte);
    }
    if (this.position === start) this.fail("a value");
  }

  #peekByte(): number {
    if (this.#next === this.#bufferLength && !this.#refill()) return END_OF_FILE;
    return this.#buffer[this.#next]!;
  }

  #advance(byte: number): void {
    if (byte === NEWLINE) this.line += 1;
    this.#next += 1;
  }

  #refill(): boolean {
    const position = this.#bufferStart + this.#bufferLength;
    const count = Math.min(this.#buffer.length, this.#file.size - position);
    if (count <= 0) return false;
    this.#file.readInto(this.#buffer.subarray(0, count), position);
    this.#bufferStart = position;
    this.#bufferLength = count;
    this.#next = 0;
    return true;
  }
}
