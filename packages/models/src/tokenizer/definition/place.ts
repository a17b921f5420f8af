/** Checks of JSON values that say where they stand: every failure names the file and the key. */
import { TokenizerError } from "../errors.ts";

/** Longest piece of a found value that a message shows. */
const SHOWN = 60;

export class Place {
  readonly file: string;
  readonly #parent: Place | undefined;
  readonly #key: string | number;

  constructor(file: string, key: string | number = "", parent?: Place) {
    this.file = file;
    this.#key = key;
    this.#parent = parent;
  }

  at(key: string | number): Place {
    return new Place(this.file, key, this);
  }

  /** The key as `model.vocab` or `added_tokens[3].id`. */
  get path(): string {
    const before = this.#parent?.path ?? "";
    if (typeof this.#key === "number") {
      return `${before}[${this.#key}]`;
    }
    return before === "" ? this.#key : `${before}.${this.#key}`;
  }

  /** @throws TokenizerError always: expected this, found that. */
  expected(what: string, found: unknown): never {
    return this.fail(`expected ${what}, found ${describeFound(found)}`);
  }

  fail(message: string): never {
    const key = this.path;
    throw new TokenizerError(key === "" ? `${this.file}: ${message}` : `${this.file}, ${key}: ${message}`);
  }
}

export function describeFound(value: unknown): string {
  if (value === undefined) {
    return "nothing";
  }
  const text = JSON.stringify(value) ?? typeof value;
  const kind = Array.isArray(value) ? "a list " : typeof value === "object" && value !== null ? "an object " : "";
  return kind + (text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text);
}

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function objectAt(value: unknown, place: Place): JsonObject {
  return isObject(value) ? value : place.expected("an object", value);
}

export function listAt(value: unknown, place: Place): readonly unknown[] {
  return Array.isArray(value) ? value : place.expected("a list", value);
}

export function textAt(value: unknown, place: Place): string {
  if (typeof value !== "string") {
    return place.expected("a string", value);
  }
  return value.isWellFormed()
    ? value
    : place.fail("the string holds half of a surrogate pair, which is no Unicode text");
}

export function booleanAt(value: unknown, place: Place): boolean {
  return typeof value === "boolean" ? value : place.expected("true or false", value);
}

export function characterAt(value: unknown, place: Place): string {
  const text = textAt(value, place);
  return Array.from(text).length === 1 ? text : place.expected("one character", value);
}

/** Largest token id and largest count: they are 32-bit numbers in the library, and positions of tensors here. */
export const LARGEST_ID = 0x7fff_ffff;

export function countAt(value: unknown, place: Place, least = 0, most: number = LARGEST_ID): number {
  return typeof value === "number" && Number.isInteger(value) && value >= least && value <= most
    ? value
    : place.expected(`a whole number from ${least} to ${most}`, value);
}

export function optional<T>(
  read: (value: unknown, place: Place) => T,
): (value: unknown, place: Place) => T | undefined {
  return (value, place) => (value === undefined || value === null ? undefined : read(value, place));
}
