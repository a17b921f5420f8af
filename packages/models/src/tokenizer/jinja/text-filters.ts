/** Filters of text and numbers. Names and parameters are Jinja2's. */
import { bind, textArgument } from "./call-arguments.ts";
import { roundFloat, roundInteger } from "./decimal.ts";
import { JinjaError } from "./errors.ts";
import { filterArgumentError, type Filter } from "./filter-arguments.ts";
import { toJson } from "./json.ts";
import { formatPercent } from "./percent-format.ts";
import { negate, numberOf, toFloat } from "./operators.ts";
import { countOf, each, isTrue, lengthOf } from "./sequences.ts";
import { center, replaceText } from "./string-methods.ts";
import { capitalize, codePointLength, codePoints, splitLines, strip } from "./strings.ts";
import { textOf } from "./text.ts";
import {
  Dict,
  Tuple,
  typeError,
  typeNameOf,
  Undefined,
  type CallArguments,
  type Runtime,
  type Value,
} from "./values.ts";

const ofText =
  (name: string, change: (text: string) => Value): Filter =>
  (value, call, runtime) => {
    bind(call, name, []);
    return change(textOf(value, runtime.budget));
  };

/** A word begins after white space, a hyphen or an opening bracket. */
const WORD_BREAK = /([-\s({[<]+)/;

function title(text: string): string {
  return text
    .split(WORD_BREAK)
    .map((part) => {
      const [first = "", ...rest] = codePoints(part);
      return first.toUpperCase() + rest.join("").toLowerCase();
    })
    .join("");
}

const HTML: ReadonlyMap<string, string> = new Map([
  ["&", "&amp;"],
  [">", "&gt;"],
  ["<", "&lt;"],
  ["'", "&#39;"],
  ['"', "&#34;"],
]);

function escapeHtml(text: string): string {
  return text.replace(/[&<>'"]/g, (character) => HTML.get(character) ?? character);
}

function indent(value: Value, call: CallArguments, runtime: Runtime): Value {
  const [width = 4n, first = false, blank = false] = bind(call, "indent", ["width", "first", "blank"]);
  if (typeof value !== "string") {
    if (value instanceof Undefined) {
      value.fail();
    }
    throw Array.isArray(value)
      ? new JinjaError("AttributeError", "'list' object has no attribute 'splitlines'")
      : typeError(`unsupported operand type(s) for +=: '${typeNameOf(value)}' and 'str'`);
  }
  const by =
    typeof width === "string"
      ? width
      : " ".repeat(Math.min(Math.max(0, countOf(width)), runtime.budget.limits.textLength));
  const lines = splitLines(`${value}\n`);
  runtime.budget.text(value.length + lines.length * by.length);
  const indented = lines
    .map((line, index) => (index === 0 || (line === "" && !isTrue(blank)) ? line : by + line))
    .join("\n");
  return isTrue(first) ? by + indented : indented;
}

function truncate(value: Value, call: CallArguments): Value {
  const [length = 255n, killWords = false, end = "...", leeway = null] = bind(call, "truncate", [
    "length",
    "killwords",
    "end",
    "leeway",
  ]);
  const most = countOf(length);
  const ending = textArgument(end, "end");
  const spare = leeway === null ? 5 : countOf(leeway);
  const endLength = codePointLength(ending);
  if (most < endLength) {
    throw new JinjaError("AssertionError", `expected length >= ${endLength}, got ${most}`);
  }
  if (spare < 0) {
    throw new JinjaError("AssertionError", `expected leeway >= 0, got ${spare}`);
  }
  if (lengthOf(value) <= most + spare) {
    return value;
  }
  if (typeof value !== "string") {
    throw typeError(`truncate shortens text, not ${typeNameOf(value)}`);
  }
  const points = codePoints(value);
  const cut = points.slice(0, most - endLength).join("");
  if (isTrue(killWords)) {
    return cut + ending;
  }
  const space = cut.lastIndexOf(" ");
  return (space === -1 ? cut : cut.slice(0, space)) + ending;
}

function round(value: Value, call: CallArguments): Value {
  const [precision = 0n, method = "common"] = bind(call, "round", ["precision", "method"]);
  if (method !== "common" && method !== "ceil" && method !== "floor") {
    throw filterArgumentError("method must be common, ceil or floor");
  }
  const number = numberOf(value);
  if (number === undefined) {
    throw typeError(`type ${typeNameOf(value)} doesn't define __round__ method`);
  }
  const digits = countOf(precision);
  if (method === "common") {
    return typeof number === "bigint" ? roundInteger(number, digits) : roundFloat(number, digits);
  }
  const scale = 10 ** digits;
  const scaled = toFloat(number) * scale;
  return (method === "ceil" ? Math.ceil(scaled) : Math.floor(scaled)) / scale;
}

/** Python's `int(text, base)`: undefined where it raises ValueError. */
function parseInteger(text: string, base: number): bigint | undefined {
  const [, sign = "", body = ""] = /^([+-]?)(.*)$/s.exec(strip(text, undefined, "both").toLowerCase()) ?? [];
  const prefixed = /^0([box])_?/.exec(body);
  const prefixBase = prefixed?.[1] === "b" ? 2 : prefixed?.[1] === "o" ? 8 : 16;
  const usesPrefix = prefixed !== null && (base === 0 || base === prefixBase);
  const radix = base === 0 ? (usesPrefix ? prefixBase : 10) : base;
  const digits = usesPrefix ? body.slice(prefixed[0].length) : body;
  if (!/^[\da-z]+(?:_[\da-z]+)*$/.test(digits) || digits.length > 4300) {
    return undefined;
  }
  let value = 0n;
  for (const digit of digits.replaceAll("_", "")) {
    const number = Number.parseInt(digit, 36);
    if (number >= radix) {
      return undefined;
    }
    value = value * BigInt(radix) + BigInt(number);
  }
  return sign === "-" ? -value : value;
}

/** Python's `float(text)`: undefined where it raises ValueError. */
function parseFloatText(text: string): number | undefined {
  const body = strip(text, undefined, "both");
  if (/^[+-]?(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:e[+-]?\d+(?:_\d+)*)?$/i.test(body)) {
    return Number(body.replaceAll("_", ""));
  }
  const special = /^([+-]?)(inf|infinity|nan)$/i.exec(body);
  if (special === null) {
    return undefined;
  }
  const magnitude = special[2]?.toLowerCase() === "nan" ? Number.NaN : Number.POSITIVE_INFINITY;
  return special[1] === "-" ? -magnitude : magnitude;
}

function toInteger(value: Value, call: CallArguments): Value {
  const [otherwise = 0n, base = 10n] = bind(call, "int", ["default", "base"]);
  if (value instanceof Undefined) {
    value.fail();
  }
  const direct = typeof value === "string" ? parseInteger(value, countOf(base)) : numberOf(value);
  if (typeof direct === "bigint") {
    return direct;
  }
  const float = typeof direct === "number" ? direct : typeof value === "string" ? parseFloatText(value) : undefined;
  return float === undefined || !Number.isFinite(float) ? otherwise : BigInt(Math.trunc(float));
}

function toNumber(value: Value, call: CallArguments): Value {
  const [otherwise = 0] = bind(call, "float", ["default"]);
  if (value instanceof Undefined) {
    value.fail();
  }
  const number = typeof value === "string" ? parseFloatText(value) : numberOf(value);
  return number === undefined ? otherwise : toFloat(number);
}

function format(value: Value, call: CallArguments, runtime: Runtime): Value {
  if (call.positional.length > 0 && call.keyword.size > 0) {
    throw filterArgumentError("can't handle positional and keyword arguments at the same time");
  }
  const template = textOf(value, runtime.budget);
  if (call.keyword.size === 0) {
    return formatPercent(template, new Tuple(call.positional), runtime);
  }
  const named = new Dict();
  for (const [name, each] of call.keyword) {
    named.set(name, each);
  }
  return formatPercent(template, named, runtime);
}

function tojson(value: Value, call: CallArguments, runtime: Runtime): Value {
  const [ensureAscii = false, indentation = null, separators = null, sortKeys = false] = bind(call, "tojson", [
    "ensure_ascii",
    "indent",
    "separators",
    "sort_keys",
  ]);
  const indent =
    indentation === null
      ? undefined
      : typeof indentation === "string"
        ? indentation
        : " ".repeat(Math.min(1000, Math.max(0, countOf(indentation))));
  let itemSeparator = indent === undefined ? ", " : ",";
  let keySeparator = ": ";
  if (separators !== null) {
    const pair = Array.from(each(separators, runtime));
    if (pair.length !== 2) {
      throw new JinjaError("ValueError", `separators must be two strings, got ${pair.length} values`);
    }
    itemSeparator = textArgument(pair[0], "item separator");
    keySeparator = textArgument(pair[1], "key separator");
  }
  return toJson(
    value,
    { ensureAscii: isTrue(ensureAscii), indent, itemSeparator, keySeparator, sortKeys: isTrue(sortKeys) },
    runtime,
  );
}

/** `urllib.parse.quote` of UTF-8; `safe` characters stay. */
function urlQuote(text: string, safe: string): string {
  return Array.from(Buffer.from(text, "utf8"), (byte) => {
    const character = String.fromCharCode(byte);
    return /[A-Za-z0-9_.~-]/.test(character) || safe.includes(character)
      ? character
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }).join("");
}

function urlencode(value: Value, _call: CallArguments, runtime: Runtime): Value {
  if (!(value instanceof Dict) && !Array.isArray(value) && !(value instanceof Tuple)) {
    return urlQuote(textOf(value, runtime.budget), "/");
  }
  const quote = (part: Value): string => urlQuote(textOf(part, runtime.budget), "").replaceAll("%20", "+");
  const pairs = value instanceof Dict ? value.items() : Array.from(each(value, runtime));
  return pairs
    .map((pair) => {
      const parts = Array.from(each(pair, runtime));
      const [key = null, item = null] = parts;
      if (parts.length !== 2) {
        const reason =
          parts.length < 2
            ? `not enough values to unpack (expected 2, got ${parts.length})`
            : "too many values to unpack (expected 2)";
        throw new JinjaError("ValueError", reason);
      }
      return `${quote(key)}=${quote(item)}`;
    })
    .join("&");
}

const length: Filter = (value, call) => {
  bind(call, "length", []);
  return BigInt(lengthOf(value));
};

export const TEXT_FILTERS: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ["upper", ofText("upper", (text) => text.toUpperCase())],
  ["lower", ofText("lower", (text) => text.toLowerCase())],
  ["capitalize", ofText("capitalize", capitalize)],
  ["title", ofText("title", title)],
  ["string", ofText("string", (text) => text)],
  ["safe", ofText("safe", (text) => text)],
  ["escape", ofText("escape", escapeHtml)],
  ["e", ofText("e", escapeHtml)],
  ["forceescape", ofText("forceescape", escapeHtml)],
  [
    "striptags",
    ofText("striptags", (text) =>
      text
        .replace(/<!--[\s\S]*?-->|<[^>]*>/g, "")
        .split(/\s+/)
        .filter((word) => word !== "")
        .join(" "),
    ),
  ],
  ["wordcount", ofText("wordcount", (text) => BigInt(text.match(/[\p{L}\p{N}_]+/gu)?.length ?? 0))],
  ["length", length],
  ["count", length],
  ["indent", indent],
  ["truncate", truncate],
  ["round", round],
  ["int", toInteger],
  ["float", toNumber],
  ["format", format],
  ["tojson", tojson],
  ["urlencode", urlencode],
  [
    "abs",
    (value, call) => {
      bind(call, "abs", []);
      const number = numberOf(value);
      if (number === undefined) {
        throw typeError(`bad operand type for abs(): '${typeNameOf(value)}'`);
      }
      return number < 0 ? negate(number, "-") : number;
    },
  ],
  [
    "trim",
    (value, call, runtime) => {
      const [characters = null] = bind(call, "trim", ["chars"]);
      return strip(
        textOf(value, runtime.budget),
        characters === null ? undefined : textArgument(characters, "strip arg"),
        "both",
      );
    },
  ],
  [
    "replace",
    (value, call, runtime) => {
      const [old = "", by = "", count = null] = bind(call, "replace", ["old", "new", "count"], 2);
      const text = (each: Value): string => textOf(each, runtime.budget);
      return replaceText(text(value), text(old), text(by), count === null ? -1 : countOf(count), runtime);
    },
  ],
  [
    "center",
    (value, call, runtime) => {
      const [width = 80n] = bind(call, "center", ["width"]);
      const text = textOf(value, runtime.budget);
      runtime.budget.text(Math.max(text.length, countOf(width)));
      return center(text, countOf(width), " ");
    },
  ],
]);
