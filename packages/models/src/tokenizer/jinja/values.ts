/**
 * Values of the template language. Python's types map to: None → null, bool → boolean, int → bigint, float → number,
 * str → string, list → array; everything else is a TemplateObject. Text is indexed and measured in code points.
 */
import { JinjaError, type JinjaErrorType } from "./errors.ts";
import type { Budget } from "./limits.ts";

export type Value = null | boolean | bigint | number | string | Value[] | TemplateObject;

export abstract class TemplateObject {
  /** The name of Python's type, for messages. */
  abstract readonly typeName: string;
}

export interface CallArguments {
  readonly positional: readonly Value[];
  readonly keyword: ReadonlyMap<string, Value>;
}

/** What functions, filters and tests may use of the rendering that calls them. */
export interface Runtime {
  readonly budget: Budget;
  /** Undefined values fail on any use but `is defined` and `default`, as StrictUndefined does. */
  readonly strictUndefined: boolean;
  now(): Date;
  callFilter(name: string, value: Value, call: CallArguments): Value;
  callTest(name: string, value: Value, call: CallArguments): boolean;
}

export class Tuple extends TemplateObject {
  readonly typeName = "tuple";
  readonly items: readonly Value[];
  /** Names of a named tuple's items (those that `groupby` gives). */
  readonly names: readonly string[];

  constructor(items: readonly Value[], names: readonly string[] = []) {
    super();
    this.items = items;
    this.names = names;
  }
}

/** A missing variable, attribute or item: renders as nothing, is false and empty, and raises on other use. */
export class Undefined extends TemplateObject {
  readonly typeName = "Undefined";
  readonly message: string;
  readonly strict: boolean;
  readonly errorType: JinjaErrorType;

  constructor(message: string, strict: boolean, errorType: JinjaErrorType = "UndefinedError") {
    super();
    this.message = message;
    this.strict = strict;
    this.errorType = errorType;
  }

  fail(): never {
    throw new JinjaError(this.errorType, this.message);
  }

  /** Called where a strict undefined value fails and a lenient one passes for empty. */
  passAsEmpty(): void {
    if (this.strict) {
      this.fail();
    }
  }
}

/** A function of the environment, a bound method or a macro. */
export class Callable extends TemplateObject {
  readonly typeName: string;
  readonly name: string;
  readonly call: (call: CallArguments, runtime: Runtime) => Value;
  readonly attributes: ReadonlyMap<string, Value>;

  constructor(
    name: string,
    call: (call: CallArguments, runtime: Runtime) => Value,
    typeName = "builtin_function_or_method",
    attributes: ReadonlyMap<string, Value> = new Map(),
  ) {
    super();
    this.name = name;
    this.call = call;
    this.typeName = typeName;
    this.attributes = attributes;
  }
}

/** `namespace(...)`: the one object whose attributes a template can assign. */
export class Namespace extends TemplateObject {
  readonly typeName = "TemplateNamespace";
  readonly #attributes = new Map<string, Value>();

  get(name: string): Value | undefined {
    return this.#attributes.get(name);
  }

  set(name: string, value: Value): void {
    if (name.startsWith("_")) {
      throw new JinjaError(
        "SecurityError",
        `Chat templates cannot store underscore-prefixed attributes on a namespace, but got '${name}'. Please rename the attribute.`,
      );
    }
    this.#attributes.set(name, value);
  }
}

/** A generator: can be gone through once, has no length and no items. */
export class Lazy extends TemplateObject {
  readonly typeName: string;
  readonly iterator: Iterator<Value>;

  constructor(iterator: Iterator<Value>, typeName = "generator") {
    super();
    this.iterator = iterator;
    this.typeName = typeName;
  }
}

/** `range(...)`; its length is bounded where it is made (globals.ts). */
export class RangeValue extends TemplateObject {
  readonly typeName = "range";
  readonly start: bigint;
  readonly stop: bigint;
  readonly step: bigint;
  readonly length: number;

  constructor(start: bigint, stop: bigint, step: bigint, length: number) {
    super();
    this.start = start;
    this.stop = stop;
    this.step = step;
    this.length = length;
  }

  at(index: number): bigint {
    return this.start + this.step * BigInt(index);
  }
}

type Key = string | bigint | number | null | symbol | TemplateObject;

const UNDEFINED_KEY = Symbol("undefined");

/** What two keys share exactly if Python holds them equal: 1, 1.0 and true are one key. */
function keyOf(value: Value): Key {
  if (typeof value === "string") {
    return value.startsWith("\u0000") ? `\u0000s${value}` : value;
  }
  if (typeof value === "boolean") {
    return value ? 1n : 0n;
  }
  if (typeof value === "number") {
    return Number.isInteger(value) ? BigInt(value) : value;
  }
  if (value === null || typeof value === "bigint") {
    return value;
  }
  if (value instanceof Tuple) {
    // Not equal to any string's key: those never start with "\0t".
    return `\u0000t${value.items.map((item) => keyText(keyOf(item))).join()}`;
  }
  if (value instanceof Undefined) {
    value.passAsEmpty();
    return UNDEFINED_KEY;
  }
  if (Array.isArray(value) || value instanceof Dict || value instanceof DictView) {
    throw new JinjaError("TypeError", `unhashable type: '${typeNameOf(value)}'`);
  }
  return value;
}

const objectNumbers = new WeakMap<TemplateObject, number>();
let lastObjectNumber = 0;

function keyText(key: Key): string {
  if (typeof key === "object" && key !== null) {
    let number = objectNumbers.get(key);
    if (number === undefined) {
      number = ++lastObjectNumber;
      objectNumbers.set(key, number);
    }
    return `o${number}`;
  }
  return typeof key === "string" ? JSON.stringify(key) : `${typeof key}${String(key)}`;
}

/** Python's dict: insertion order, keys by Python's equality. */
export class Dict extends TemplateObject {
  readonly typeName = "dict";
  readonly #entries = new Map<Key, [Value, Value]>();

  get size(): number {
    return this.#entries.size;
  }

  get(key: Value): Value | undefined {
    return this.#entries.get(keyOf(key))?.[1];
  }

  has(key: Value): boolean {
    return this.#entries.has(keyOf(key));
  }

  set(key: Value, value: Value): void {
    const hash = keyOf(key);
    const entry = this.#entries.get(hash);
    if (entry === undefined) {
      this.#entries.set(hash, [key, value]);
    } else {
      entry[1] = value;
    }
  }

  entries(): Iterable<readonly [Value, Value]> {
    return this.#entries.values();
  }

  keys(): Value[] {
    return Array.from(this.#entries.values(), (entry) => entry[0]);
  }

  values(): Value[] {
    return Array.from(this.#entries.values(), (entry) => entry[1]);
  }

  items(): Tuple[] {
    return Array.from(this.#entries.values(), (entry) => new Tuple([...entry]));
  }
}

/** A set of values by Python's equality. */
export class ValueSet {
  readonly #keys = new Set<Key>();

  /** False if the value was there before. */
  add(value: Value): boolean {
    const key = keyOf(value);
    if (this.#keys.has(key)) {
      return false;
    }
    this.#keys.add(key);
    return true;
  }
}

/** `dict.keys()`, `dict.values()`, `dict.items()`: sized and iterable, without items by index. */
export class DictView extends TemplateObject {
  readonly typeName: "dict_keys" | "dict_values" | "dict_items";
  readonly dict: Dict;

  constructor(typeName: "dict_keys" | "dict_values" | "dict_items", dict: Dict) {
    super();
    this.typeName = typeName;
    this.dict = dict;
  }

  list(): Value[] {
    return this.typeName === "dict_keys"
      ? this.dict.keys()
      : this.typeName === "dict_values"
        ? this.dict.values()
        : this.dict.items();
  }
}

/** The name of Python's type of a value. */
export function typeNameOf(value: Value): string {
  if (value === null) {
    return "NoneType";
  }
  switch (typeof value) {
    case "boolean":
      return "bool";
    case "bigint":
      return "int";
    case "number":
      return "float";
    case "string":
      return "str";
    default:
      return Array.isArray(value) ? "list" : value.typeName;
  }
}

export function typeError(message: string): JinjaError {
  return new JinjaError("TypeError", message);
}

/** Deepest nesting of a value that a caller hands to a template. */
const INPUT_DEPTH = 100;

/**
 * A JavaScript value as the template sees it. Whole numbers become ints, others floats; objects become dicts without the
 * keys whose value is undefined; Maps keep their keys' types.
 *
 * @throws JinjaError for values that templates do not know (functions, symbols, class instances), and nesting beyond 100.
 */
export function toValue(input: unknown, depth = 0): Value {
  if (depth > INPUT_DEPTH) {
    throw new JinjaError("ValueError", `a value handed to the template nests deeper than ${INPUT_DEPTH} levels`);
  }
  if (input === null || typeof input === "boolean" || typeof input === "string" || typeof input === "bigint") {
    return input;
  }
  if (typeof input === "number") {
    return Number.isInteger(input) ? BigInt(input) : input;
  }
  if (Array.isArray(input)) {
    return input.map((item) => toValue(item, depth + 1));
  }
  if (input instanceof Map || (typeof input === "object" && isPlain(input))) {
    const dict = new Dict();
    for (const [key, value] of input instanceof Map ? input : Object.entries(input)) {
      if (value !== undefined) {
        dict.set(toValue(key, depth + 1), toValue(value, depth + 1));
      }
    }
    return dict;
  }
  const what =
    typeof input === "object" ? `a ${input.constructor?.name ?? "object"}` : `a value of type ${typeof input}`;
  throw new JinjaError(
    "TypeError",
    `templates take JSON values (null, boolean, number, string, array, object), not ${what}`,
  );
}

function isPlain(input: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(input);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
