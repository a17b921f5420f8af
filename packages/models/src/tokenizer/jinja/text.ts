/** `str()` and `repr()` of values, as Python writes them. */
import { JinjaError } from "./errors.ts";
import type { Budget } from "./limits.ts";
import { codePoints, UNPRINTABLE } from "./strings.ts";
import { Callable, Dict, DictView, Lazy, RangeValue, Tuple, typeNameOf, Undefined, type Value } from "./values.ts";

/** `str(value)`. */
export function textOf(value: Value, budget: Budget): string {
  if (typeof value === "string") {
    return value;
  }
  if (value instanceof Undefined) {
    value.passAsEmpty();
    return "";
  }
  const text = representation(value, budget, 0);
  budget.text(text.length);
  return text;
}

/** `repr(value)`. */
export function representationOf(value: Value, budget: Budget): string {
  const text = representation(value, budget, 0);
  budget.text(text.length);
  return text;
}

const DEEPEST = 200;

function representation(value: Value, budget: Budget, depth: number): string {
  if (value === null) {
    return "None";
  }
  switch (typeof value) {
    case "boolean":
      return value ? "True" : "False";
    case "bigint":
      return integerText(value);
    case "number":
      return floatText(value);
    case "string":
      return quoted(value);
  }
  if (depth > DEEPEST) {
    throw new JinjaError("LimitError", `a value nests deeper than ${DEEPEST} levels`);
  }
  budget.step();
  const inner = (item: Value): string => representation(item, budget, depth + 1);
  const join = (items: readonly Value[]): string => {
    const text = items.map(inner).join(", ");
    budget.text(text.length);
    return text;
  };
  if (Array.isArray(value)) {
    return `[${join(value)}]`;
  }
  if (value instanceof Tuple) {
    return value.items.length === 1 ? `(${join(value.items)},)` : `(${join(value.items)})`;
  }
  if (value instanceof Dict) {
    const pairs = Array.from(value.entries(), ([key, item]) => `${inner(key)}: ${inner(item)}`);
    return `{${pairs.join(", ")}}`;
  }
  if (value instanceof DictView) {
    return `${value.typeName}([${join(value.list())}])`;
  }
  if (value instanceof RangeValue) {
    const bounds = `${value.start}, ${value.stop}`;
    return value.step === 1n ? `range(${bounds})` : `range(${bounds}, ${value.step})`;
  }
  if (value instanceof Undefined) {
    return "Undefined";
  }
  if (value instanceof Callable) {
    return value.typeName === "Macro" ? `<Macro ${quoted(value.name)}>` : `<function ${value.name}>`;
  }
  if (value instanceof Lazy) {
    // Python prints an address, which no template can rely on.
    return `<${value.typeName} object>`;
  }
  return `<${typeNameOf(value)} object>`;
}

/** Digits that Python converts between ints and text, at most. */
const INTEGER_DIGITS = 4300;

export function integerText(value: bigint): string {
  const text = value.toString();
  if (text.length > INTEGER_DIGITS + 1) {
    throw new JinjaError("ValueError", `Exceeds the limit (${INTEGER_DIGITS} digits) for integer string conversion`);
  }
  return text;
}

/** `repr` of a float: the shortest digits that read back, positional from 1e-4 to below 1e16. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) {
    return "nan";
  }
  if (!Number.isFinite(value)) {
    return value > 0 ? "inf" : "-inf";
  }
  if (value === 0) {
    return Object.is(value, -0) ? "-0.0" : "0.0";
  }
  const [digits = "", power = "0"] = value.toExponential().split("e");
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16) {
    return `${digits}e${exponent < 0 ? "-" : "+"}${Math.abs(exponent).toString().padStart(2, "0")}`;
  }
  const text = value.toString();
  return text.includes(".") ? text : `${text}.0`;
}

const SHORT_ESCAPES: ReadonlyMap<string, string> = new Map([
  ["\\", "\\\\"],
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
]);

/** A string literal: single quotes unless only those occur inside. */
export function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  if (!UNPRINTABLE.test(text) && !/[\\']/.test(text)) {
    return quote + text + quote;
  }
  let result = quote;
  for (const character of codePoints(text)) {
    const short = SHORT_ESCAPES.get(character);
    if (short !== undefined) {
      result += short;
    } else if (character === quote) {
      result += `\\${quote}`;
    } else {
      result += UNPRINTABLE.test(character) ? escaped(character) : character;
    }
  }
  return result + quote;
}

/** The shortest of \xhh, \uhhhh and \Uhhhhhhhh. */
export function escaped(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const hex = code.toString(16);
  return code < 0x100
    ? `\\x${hex.padStart(2, "0")}`
    : code < 0x10000
      ? `\\u${hex.padStart(4, "0")}`
      : `\\U${hex.padStart(8, "0")}`;
}
