/** `"…{}…".format(values)`, with attribute and item lookups through the sandbox. */
import { JinjaError } from "./errors.ts";
import { realDigits } from "./percent-format.ts";
import { codePointLength, codePoints } from "./strings.ts";
import { floatText, integerText, representationOf, textOf } from "./text.ts";
import { Dict, typeError, typeNameOf, type CallArguments, type Runtime, type Value } from "./values.ts";

/** How a field reaches into its value; given by access.ts, which itself binds this format as a method. */
export interface Lookup {
  attribute(object: Value, name: string, runtime: Runtime): Value;
  item(object: Value, index: Value, runtime: Runtime): Value;
}

const LARGEST = 100_000;

export function formatBraces(template: string, call: CallArguments, lookup: Lookup, runtime: Runtime): string {
  const formatter = new BraceFormatter(call, lookup, runtime);
  const result = formatter.format(template, 0);
  runtime.budget.text(result.length);
  return result;
}

/** The arguments of `format_map`: names come from the one mapping. */
export function mappingArguments(call: CallArguments): CallArguments {
  const [mapping] = call.positional;
  if (call.positional.length !== 1 || call.keyword.size > 0) {
    throw typeError(`format_map() takes exactly one argument (${call.positional.length} given)`);
  }
  if (!(mapping instanceof Dict)) {
    throw typeError(`'${typeNameOf(mapping ?? null)}' object is not a mapping`);
  }
  return {
    positional: [],
    keyword: new Map(Array.from(mapping.entries(), ([key, value]) => [typeof key === "string" ? key : "", value])),
  };
}

class BraceFormatter {
  readonly #call: CallArguments;
  readonly #lookup: Lookup;
  readonly #runtime: Runtime;
  #next: number | "named by number" = 0;

  constructor(call: CallArguments, lookup: Lookup, runtime: Runtime) {
    this.#call = call;
    this.#lookup = lookup;
    this.#runtime = runtime;
  }

  format(template: string, depth: number): string {
    if (depth > 2) {
      throw new JinjaError("ValueError", "Max string recursion exceeded");
    }
    let result = "";
    let at = 0;
    while (at < template.length) {
      const character = template[at] ?? "";
      if (character !== "{" && character !== "}") {
        const next = template.slice(at).search(/[{}]/);
        const end = next === -1 ? template.length : at + next;
        result += template.slice(at, end);
        at = end;
      } else if (template[at + 1] === character) {
        result += character;
        at += 2;
      } else if (character === "}") {
        throw new JinjaError("ValueError", "Single '}' encountered in format string");
      } else {
        const end = fieldEnd(template, at + 1);
        result += this.#field(template.slice(at + 1, end), depth);
        at = end + 1;
      }
    }
    return result;
  }

  #field(field: string, depth: number): string {
    const [, name = "", conversion, specification = ""] = /^([^!:]*)(?:!([^:]))?(?::([\s\S]*))?$/.exec(field) ?? [];
    if (name === "" && !/^(?:![^:])?(?::[\s\S]*)?$/.test(field)) {
      throw new JinjaError("ValueError", "expected ':' after conversion specifier");
    }
    let value = this.#value(name);
    if (conversion === "r" || conversion === "a") {
      value = representationOf(value, this.#runtime.budget);
    } else if (conversion === "s") {
      value = textOf(value, this.#runtime.budget);
    } else if (conversion !== undefined) {
      throw new JinjaError("ValueError", `Unknown conversion specifier ${conversion}`);
    }
    return formatValue(value, this.format(specification, depth + 1), this.#runtime);
  }

  #value(name: string): Value {
    const [, first = "", rest = ""] = /^([^.[]*)([\s\S]*)$/.exec(name) ?? [];
    let value = this.#argument(first);
    for (const [, attribute, item] of rest.matchAll(/\.([^.[]+)|\[([^\]]*)\]/g)) {
      value =
        attribute !== undefined
          ? this.#lookup.attribute(value, attribute, this.#runtime)
          : this.#lookup.item(value, /^\d+$/.test(item ?? "") ? BigInt(item ?? 0) : (item ?? ""), this.#runtime);
    }
    return value;
  }

  #argument(name: string): Value {
    if (name === "" || /^\d+$/.test(name)) {
      const isNumbered = name !== "";
      if (isNumbered ? typeof this.#next === "number" && this.#next > 0 : typeof this.#next !== "number") {
        throw new JinjaError(
          "ValueError",
          "cannot switch from manual field specification to automatic field numbering",
        );
      }
      let index = Number(name);
      if (isNumbered) {
        this.#next = "named by number";
      } else if (typeof this.#next === "number") {
        index = this.#next++;
      }
      const value = this.#call.positional[index];
      if (value === undefined) {
        throw new JinjaError("IndexError", "tuple index out of range");
      }
      return value;
    }
    const value = this.#call.keyword.get(name);
    if (value === undefined) {
      throw new JinjaError("KeyError", `'${name}'`);
    }
    return value;
  }
}

/** Index of the brace that closes the field, which may hold fields in its format specification. */
function fieldEnd(template: string, start: number): number {
  let open = 1;
  for (let at = start; at < template.length; at++) {
    open += template[at] === "{" ? 1 : template[at] === "}" ? -1 : 0;
    if (open === 0) {
      return at;
    }
  }
  throw new JinjaError(
    "ValueError",
    start >= template.length ? "Single '{' encountered in format string" : "expected '}' before end of string",
  );
}

const SPECIFICATION = /^(?:([\s\S])?([<>=^]))?([-+ ])?(#)?(0)?(\d+)?([_,])?(?:\.(\d+))?([a-zA-Z%])?$/u;

/** `format(value, specification)`. */
export function formatValue(value: Value, specification: string, runtime: Runtime): string {
  if (specification === "") {
    return textOf(value, runtime.budget);
  }
  const match = SPECIFICATION.exec(specification);
  if (match === null) {
    throw new JinjaError(
      "ValueError",
      `Invalid format specifier '${specification}' for object of type '${typeNameOf(value)}'`,
    );
  }
  const [, fill, align, sign = "-", alternate, zero, width = "0", grouping, precision, type] = match;
  if (Number(width) > LARGEST || Number(precision ?? 0) > LARGEST) {
    throw new JinjaError("LimitError", `a format field is wider than ${LARGEST}`);
  }
  const digits = precision === undefined ? undefined : Number(precision);
  let prefix = "";
  let body: string;
  const isNumber =
    typeof value === "bigint" || typeof value === "number" || (typeof value === "boolean" && type !== undefined);
  if (isNumber) {
    const number = typeof value === "boolean" ? BigInt(value) : value;
    const negative = number < 0 || Object.is(number, -0);
    prefix = negative ? "-" : sign === "-" ? "" : sign;
    const magnitude = typeof number === "bigint" ? (negative ? -number : number) : Math.abs(number);
    const [base, text] = numberBody(magnitude, type, digits, alternate !== undefined);
    prefix += base;
    body = grouping === undefined ? text : grouped(text, grouping);
  } else {
    if (
      typeof value !== "string" ||
      (type !== undefined && type !== "s") ||
      align === "=" ||
      grouping !== undefined ||
      sign !== "-"
    ) {
      throw typeof value === "string"
        ? new JinjaError("ValueError", `Unknown format code '${type ?? align ?? ""}' for object of type 'str'`)
        : typeError(`unsupported format string passed to ${typeNameOf(value)}.__format__`);
    }
    body = digits === undefined ? value : codePoints(value).slice(0, digits).join("");
  }
  const missing = Math.max(0, Number(width) - codePointLength(prefix) - codePointLength(body));
  const padding = fill ?? (zero !== undefined ? "0" : " ");
  const side = align ?? (zero !== undefined && isNumber ? "=" : isNumber ? ">" : "<");
  const before = side === "<" ? 0 : side === "^" ? missing >> 1 : missing;
  const left = padding.repeat(before);
  const right = padding.repeat(missing - before);
  return side === "=" ? prefix + left + body : left + prefix + body + right;
}

const BASES: ReadonlyMap<string, number> = new Map([
  ["b", 2],
  ["o", 8],
  ["x", 16],
  ["X", 16],
]);

function numberBody(
  value: bigint | number,
  type: string | undefined,
  precision: number | undefined,
  alternate: boolean,
): [string, string] {
  const base = type === undefined ? undefined : BASES.get(type);
  if (typeof value === "bigint" && (type === undefined || type === "d" || type === "n" || base !== undefined)) {
    if (precision !== undefined) {
      throw new JinjaError("ValueError", "Precision not allowed in integer format specifier");
    }
    if (base === undefined) {
      return ["", integerText(value)];
    }
    const text = value.toString(base);
    return [alternate ? `0${type}` : "", type === "X" ? text.toUpperCase() : text];
  }
  const number = Number(value);
  switch (type) {
    case undefined:
      return ["", precision === undefined ? floatText(number) : shortFloat(number, precision)];
    case "%":
      return ["", `${realDigits(number * 100, "f", precision ?? 6, alternate)}%`];
    case "e":
    case "f":
    case "g":
      return ["", realDigits(number, type, precision ?? 6, alternate)];
    case "E":
    case "F":
    case "G":
      return ["", realDigits(number, type.toLowerCase(), precision ?? 6, alternate).toUpperCase()];
    case "n":
      return ["", realDigits(number, "g", precision ?? 6, alternate)];
    default:
      throw new JinjaError(
        "ValueError",
        `Unknown format code '${type}' for object of type '${typeof value === "bigint" ? "int" : "float"}'`,
      );
  }
}

/** No type with a precision: like g, with a digit behind the point kept. */
function shortFloat(value: number, precision: number): string {
  const text = realDigits(value, "g", precision, false);
  return /^\d+$/.test(text) ? `${text}.0` : text;
}

function grouped(text: string, separator: string): string {
  const [, whole = "", rest = ""] = /^(\d*)([\s\S]*)$/.exec(text) ?? [];
  return whole.replace(/\B(?=(?:\d{3})+$)/g, separator) + rest;
}
