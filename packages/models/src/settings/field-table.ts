/** Settings that come from a JSON file of Hugging Face or from code: one table says which keys exist and what they may hold. */
import { didYouMean } from "../messages/did-you-mean.ts";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** A setting that has an effect. */
export interface Field {
  readonly default: Json;
  /** What the value must be, as the end of "must be …". */
  readonly expected: string;
  readonly accepts: (value: Json) => boolean;
}

export interface FieldTable {
  /** What the keys belong to, for messages: "a LoRA configuration". */
  readonly owner: string;
  /** What a key that nobody knows may change: "what the adapter computes". */
  readonly stake: string;
  readonly implemented: ReadonlyMap<string, Field>;
  /** Keys that change results and are not implemented, with the only value that is accepted besides null, false and empty. */
  readonly notImplemented: ReadonlyMap<string, Json>;
  /** Keys without an effect here, with the default that is written. */
  readonly withoutEffect: ReadonlyMap<string, Json>;
  readonly fail: (message: string) => Error;
}

/** Where the values come from. */
export interface FieldSource {
  /** The name in the file format of a setting as the user wrote it; unknown names stay as they are. */
  readonly keyOf: (written: string) => string;
  /** A setting's name as the user writes it. */
  readonly spell: (key: string) => string;
  /** The place of a setting: a file with a line, or the constructor. */
  readonly place: (key: string) => string;
}

export interface CheckedFields {
  /** A value for every key of the table, defaults filled in. */
  readonly values: ReadonlyMap<string, Json>;
  /** What was ignored, for the user to see. */
  readonly warnings: readonly string[];
}

/** `lora_alpha` → `loraAlpha`: the one rule between names in files and names in TypeScript. */
export function camelCase(key: string): string {
  return key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** The keys of a table with their defaults. */
export function defaultsOf(table: FieldTable): ReadonlyMap<string, Json> {
  return new Map([
    ...[...table.implemented].map(([key, field]) => [key, field.default] as const),
    ...table.notImplemented,
    ...table.withoutEffect,
  ]);
}

/** Settings given in code: names are camelCase. */
export function codeSource(table: FieldTable, place: string): FieldSource {
  const keys = new Map([...defaultsOf(table).keys()].map((key) => [camelCase(key), key]));
  return { keyOf: (written) => keys.get(written) ?? written, spell: camelCase, place: () => place };
}

/** Settings read from a file. @param lineOf line of a key, where known */
export function fileSource(file: string, lineOf: (key: string) => number | undefined = () => undefined): FieldSource {
  return {
    keyOf: (written) => written,
    spell: (key) => key,
    place: (key) => {
      const line = lineOf(key);
      return line === undefined ? file : `${file}:${line}`;
    },
  };
}

/** The name and place of a setting at the start of a message. */
export function describeField(source: FieldSource, key: string): string {
  return `${source.place(key)}: "${source.spell(key)}"`;
}

/**
 * Checks values one by one.
 * @param given as the user wrote them; undefined counts as not given
 * @throws what `table.fail` makes, naming the key, its place, what was expected and what was found
 */
export function checkFields(
  table: FieldTable,
  given: Iterable<readonly [string, unknown]>,
  source: FieldSource,
): CheckedFields {
  const values = new Map(defaultsOf(table));
  const ignored: string[] = [];
  for (const [written, found] of given) {
    if (found === undefined) {
      continue;
    }
    const value = found as Json;
    const key = source.keyOf(written);
    const field = table.implemented.get(key);
    const onlyValue = table.notImplemented.get(key);
    if (field !== undefined) {
      if (!field.accepts(value)) {
        throw table.fail(`${describeField(source, key)} must be ${field.expected}, found ${JSON.stringify(value)}.`);
      }
    } else if (onlyValue !== undefined) {
      if (value !== onlyValue && !isOff(value)) {
        throw table.fail(
          `${describeField(source, key)} is ${JSON.stringify(value)}, which is not implemented: only ${JSON.stringify(onlyValue)} is.`,
        );
      }
    } else if (!table.withoutEffect.has(key)) {
      refuseUnlessOff(table, key, value, source);
      ignored.push(describeField(source, key));
      continue;
    }
    values.set(key, value);
  }
  const warnings =
    ignored.length === 0
      ? []
      : [`ignored ${ignored.length} unknown key(s) that are switched off: ${ignored.join(", ")}`];
  return { values, warnings };
}

// Libraries add a key per variant, switched off by null or false: a newer file stays readable as long as none is in use.
function refuseUnlessOff(table: FieldTable, key: string, value: Json, source: FieldSource): void {
  if (!isOff(value)) {
    const known = [...defaultsOf(table).keys()].map(source.spell);
    throw table.fail(
      `${source.place(key)}: "${key}" is not a key of ${table.owner} and is set to ${JSON.stringify(value)}, ` +
        `so it may change ${table.stake}.${didYouMean(key, known)}`,
    );
  }
}

/** A value that switches a variant off. */
export function isOff(value: Json): boolean {
  return value === null || value === false || (typeof value === "object" && Object.keys(value).length === 0);
}

// ---- Kinds of values -------------------------------------------------------------------------------------------------------------

type Test = (value: Json) => boolean;

export const isString: Test = (value) => typeof value === "string";
export const isStringList: Test = (value) => Array.isArray(value) && value.every(isString);
export const isNumber: Test = (value) => typeof value === "number" && Number.isFinite(value);
/** An integer from 0 on. */
export const isCount: Test = (value) => isNumber(value) && Number.isInteger(value) && Number(value) >= 0;
/** An integer from 1 on. */
export const isPositiveInteger: Test = (value) => isCount(value) && value !== 0;
export const isCountList: Test = (value) => Array.isArray(value) && value.every(isCount);
/** An object whose values all pass. */
export const isRecordOf =
  (test: Test): Test =>
  (value) =>
    typeof value === "object" && value !== null && !Array.isArray(value) && Object.values(value).every(test);
export const either =
  (...tests: readonly Test[]): Test =>
  (value) =>
    tests.some((test) => test(value));
export const isNull: Test = (value) => value === null;

/** A field that is true or false. */
export function flag(fallback: boolean): Field {
  return { default: fallback, expected: "true or false", accepts: (value) => typeof value === "boolean" };
}
