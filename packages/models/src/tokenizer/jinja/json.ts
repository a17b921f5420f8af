/** `json.dumps` as the environment's `tojson` filter calls it: text stays text, nothing is escaped for HTML. */
import { JinjaError } from "./errors.ts";
import { compareText } from "./strings.ts";
import { floatText, integerText } from "./text.ts";
import { Dict, Tuple, typeError, typeNameOf, type Runtime, type Value } from "./values.ts";

export interface JsonOptions {
  readonly ensureAscii: boolean;
  /** What one level is indented by; undefined writes everything on one line. */
  readonly indent: string | undefined;
  readonly itemSeparator: string;
  readonly keySeparator: string;
  readonly sortKeys: boolean;
}

const DEEPEST = 200;

export function toJson(value: Value, options: JsonOptions, runtime: Runtime): string {
  const text = write(value, options, "\n", runtime, 0);
  runtime.budget.text(text.length);
  return text;
}

function write(value: Value, options: JsonOptions, lineBreak: string, runtime: Runtime, depth: number): string {
  if (value === null) {
    return "null";
  }
  switch (typeof value) {
    case "boolean":
      return String(value);
    case "bigint":
      return integerText(value);
    case "number":
      return numberText(value);
    case "string":
      return quoted(value, options.ensureAscii);
  }
  if (depth > DEEPEST) {
    throw new JinjaError("LimitError", `a value nests deeper than ${DEEPEST} levels`);
  }
  runtime.budget.step();
  const inner = options.indent === undefined ? lineBreak : lineBreak + options.indent;
  const wrap = (open: string, parts: string[], close: string): string => {
    if (parts.length === 0) {
      return open + close;
    }
    const [before, after] = options.indent === undefined ? ["", ""] : [inner, lineBreak];
    const text = open + before + parts.join(options.itemSeparator + before) + after + close;
    runtime.budget.text(text.length);
    return text;
  };
  const list = Array.isArray(value) ? value : value instanceof Tuple ? value.items : undefined;
  if (list !== undefined) {
    return wrap(
      "[",
      list.map((item) => write(item, options, inner, runtime, depth + 1)),
      "]",
    );
  }
  if (value instanceof Dict) {
    let entries = Array.from(value.entries());
    if (options.sortKeys) {
      entries = sortedByKey(entries);
    }
    const pair = ([key, item]: readonly [Value, Value]): string =>
      quoted(keyText(key), options.ensureAscii) +
      options.keySeparator +
      write(item, options, inner, runtime, depth + 1);
    return wrap("{", entries.map(pair), "}");
  }
  throw typeError(`Object of type ${typeNameOf(value)} is not JSON serializable`);
}

function numberText(value: number): string {
  return Number.isNaN(value) ? "NaN" : Number.isFinite(value) ? floatText(value) : value > 0 ? "Infinity" : "-Infinity";
}

function keyText(key: Value): string {
  switch (typeof key) {
    case "string":
      return key;
    case "boolean":
      return String(key);
    case "bigint":
      return integerText(key);
    case "number":
      return numberText(key);
    default:
      if (key === null) {
        return "null";
      }
      throw typeError(`keys must be str, int, float, bool or None, not ${typeNameOf(key)}`);
  }
}

function sortedByKey(entries: (readonly [Value, Value])[]): (readonly [Value, Value])[] {
  return [...entries].sort(([a], [b]) => {
    if (typeof a === "string" && typeof b === "string") {
      return compareText(a, b);
    }
    if (typeof a === "object" || typeof b === "object" || typeof a === "string" || typeof b === "string") {
      throw typeError(`'<' not supported between instances of '${typeNameOf(a)}' and '${typeNameOf(b)}'`);
    }
    return a < b ? -1 : a > b ? 1 : 0;
  });
}

const SHORT: ReadonlyMap<string, string> = new Map([
  ['"', '\\"'],
  ["\\", "\\\\"],
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
  ["\f", "\\f"],
  ["\b", "\\b"],
]);

const CONTROL = "\\0-\\x1f";
const NOT_PLAIN = new RegExp(`["\\\\${CONTROL}]`, "g");
const NOT_ASCII = /["\\]|[^ -~]/g;

function escape(unit: string): string {
  return SHORT.get(unit) ?? `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

function quoted(text: string, ensureAscii: boolean): string {
  return `"${text.replace(ensureAscii ? NOT_ASCII : NOT_PLAIN, escape)}"`;
}
