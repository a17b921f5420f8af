import { DatasetError, type DataLocation } from "./errors.ts";

/** One example: column name → value. Values are JSON values; columns of numbers may be typed arrays. */
export type Row = Readonly<Record<string, unknown>>;

/** What a value is, in words for messages: `a string ("abc…")`, `null`, `a list of 3`. */
export function describeValue(value: unknown): string {
  if (value === null) return "null";
  if (value === undefined) return "nothing";
  if (Array.isArray(value) || ArrayBuffer.isView(value)) {
    return `a list of ${(value as ArrayLike<unknown>).length ?? 0}`;
  }
  switch (typeof value) {
    case "string":
      return `a string (${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)})`;
    case "number":
    case "bigint":
      return `a number (${value})`;
    case "boolean":
      return String(value);
    case "object":
      return `an object with ${describeKeys(Object.keys(value))}`;
    default:
      return `a ${typeof value}`;
  }
}

/** `"a", "b" and 3 more`, or `no keys`. */
export function describeKeys(keys: readonly string[], most = 8): string {
  if (keys.length === 0) return "no keys";
  const shown = keys
    .slice(0, most)
    .map((key) => JSON.stringify(key.length > 40 ? `${key.slice(0, 40)}…` : key))
    .join(", ");
  return keys.length > most ? `${shown} and ${keys.length - most} more` : shown;
}

/**
 * Brings what columnar readers return to plain values: 64-bit integers become numbers (an error outside ±(2^53 − 1)), dates
 * ISO strings, vectors and structs lists and objects. Typed arrays other than 64-bit ones stay as they are.
 */
export function toPlainValue(value: unknown, where: DataLocation, depth = 0): unknown {
  if (value === null || value === undefined) return null;
  if (typeof value === "bigint") return toSafeNumber(value, where);
  if (typeof value !== "object") return value;
  if (depth > 64) throw new DatasetError("nested too deeply", where, { expected: "at most 64 levels" });
  if (value instanceof BigInt64Array || value instanceof BigUint64Array) {
    return Array.from(value, (item) => toSafeNumber(item, where));
  }
  if (ArrayBuffer.isView(value)) return value;
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw new DatasetError("not a date", where);
    return value.toISOString();
  }
  if (Array.isArray(value)) return value.map((item) => toPlainValue(item, where, depth + 1));
  if (value instanceof Map) {
    return Object.fromEntries(
      Array.from(value, ([key, item]) => [String(key), toPlainValue(item, where, depth + 1)] as const),
    );
  }
  const plain: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) plain[key] = toPlainValue(item, where, depth + 1);
  return plain;
}

function toSafeNumber(value: bigint, where: DataLocation): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER)) {
    throw new DatasetError("64-bit integer out of range", where, {
      expected: "an integer within ±(2^53 − 1)",
      found: value.toString(),
    });
  }
  return Number(value);
}

/** The column as a string, or an error that names it. */
export function stringColumn(row: Row, column: string, where: DataLocation): string {
  const value = requireColumn(row, column, where);
  if (typeof value !== "string") {
    throw new DatasetError("wrong type", { ...where, column }, { expected: "a string", found: describeValue(value) });
  }
  return value;
}

/**
 * The column as 32-bit integers, or an error that names the first item that is none.
 *
 * @param least smallest value allowed
 * @param limit first value that is too large
 */
export function integerColumn(row: Row, column: string, where: DataLocation, least: number, limit: number): Int32Array {
  const value = requireColumn(row, column, where);
  if (!Array.isArray(value) && !(ArrayBuffer.isView(value) && !(value instanceof DataView))) {
    throw new DatasetError(
      "wrong type",
      { ...where, column },
      { expected: "a list of integers", found: describeValue(value) },
    );
  }
  const items = value as ArrayLike<unknown>;
  const result = new Int32Array(items.length);
  for (let i = 0; i < items.length; i++) {
    const item = items[i];
    if (typeof item !== "number" || !Number.isInteger(item) || item < least || item >= limit) {
      throw new DatasetError(
        `item ${i} is not usable`,
        { ...where, column },
        { expected: `an integer from ${least} to ${limit - 1}`, found: describeValue(item) },
      );
    }
    result[i] = item;
  }
  return result;
}

function requireColumn(row: Row, column: string, where: DataLocation): unknown {
  if (!Object.hasOwn(row, column) || row[column] === undefined) {
    throw new DatasetError(
      "no such column in this row",
      { ...where, column },
      { found: describeKeys(Object.keys(row)) },
    );
  }
  return row[column];
}
