/** `"…%s…" % values`, Python's printf-style formatting. */
import { exponentDigits, fixedDigits, generalDigits } from "./decimal.ts";
import { JinjaError } from "./errors.ts";
import { codePointLength, codePoints } from "./strings.ts";
import { integerText, representationOf, textOf } from "./text.ts";
import { Dict, Tuple, typeError, typeNameOf, Undefined, type Runtime, type Value } from "./values.ts";

const DIRECTIVE = /%(?:\(([^()]*)\))?([-+ #0]*)(\*|\d+)?(?:\.(\*|\d+)?)?[hlL]?([\s\S])?/gu;

/** Widest field and longest fraction of one directive. */
const LARGEST = 100_000;

export function formatPercent(template: string, values: Value, runtime: Runtime): string {
  const list = values instanceof Tuple ? values.items : [values];
  const mapping = values instanceof Dict ? values : undefined;
  let used = 0;
  const take = (): Value => {
    const value = list[used++];
    if (value === undefined) {
      throw typeError("not enough arguments for format string");
    }
    return value;
  };
  const size = (text: string | undefined): number | undefined => {
    if (text === undefined) {
      return undefined;
    }
    const value = text === "*" ? take() : BigInt(text);
    if (typeof value !== "bigint") {
      throw typeError("* wants int");
    }
    if (value > BigInt(LARGEST) || value < -BigInt(LARGEST)) {
      throw new JinjaError("LimitError", `a format directive is wider than ${LARGEST}`);
    }
    return Number(value);
  };
  const result = template.replace(
    DIRECTIVE,
    (
      whole: string,
      key: string | undefined,
      flags: string,
      width: string | undefined,
      precision: string | undefined,
      type: string | undefined,
    ) => {
      if (type === undefined) {
        throw new JinjaError("ValueError", "incomplete format");
      }
      if (type === "%") {
        return "%";
      }
      if (key !== undefined && mapping === undefined) {
        throw typeError("format requires a mapping");
      }
      const hasPrecision = whole.includes(".");
      const fieldWidth = size(width);
      const digits = hasPrecision ? (size(precision) ?? 0) : undefined;
      const value = key === undefined ? take() : keyed(mapping, key);
      return field(value, type, { flags, width: fieldWidth ?? 0, precision: digits }, runtime);
    },
  );
  const takesAnyCount = mapping !== undefined || Array.isArray(values) || values instanceof Undefined;
  if (used < list.length && !takesAnyCount) {
    throw typeError("not all arguments converted during string formatting");
  }
  runtime.budget.text(result.length);
  return result;
}

function keyed(mapping: Dict | undefined, key: string): Value {
  const value = mapping?.get(key);
  if (value === undefined) {
    throw new JinjaError("KeyError", `'${key}'`);
  }
  return value;
}

interface Layout {
  readonly flags: string;
  readonly width: number;
  readonly precision: number | undefined;
}

function field(value: Value, type: string, layout: Layout, runtime: Runtime): string {
  const [sign, body] = converted(value, type, layout, runtime);
  const left = layout.flags.includes("-") || layout.width < 0;
  const missing = Math.max(0, Math.abs(layout.width) - codePointLength(sign) - codePointLength(body));
  if (left) {
    return sign + body + " ".repeat(missing);
  }
  const zeros = layout.flags.includes("0") && !"srac".includes(type);
  return zeros ? sign + "0".repeat(missing) + body : " ".repeat(missing) + sign + body;
}

/** The sign (with a base's prefix) and the digits or text. */
function converted(value: Value, type: string, layout: Layout, runtime: Runtime): [string, string] {
  const { flags, precision } = layout;
  switch (type) {
    case "s":
    case "r":
    case "a": {
      const text = type === "s" ? textOf(value, runtime.budget) : representationOf(value, runtime.budget);
      return ["", precision === undefined ? text : codePoints(text).slice(0, precision).join("")];
    }
    case "c":
      return ["", character(value)];
    case "d":
    case "i":
    case "u": {
      const number = wholeNumber(value, type);
      return [signOf(number < 0n, flags), integerText(number < 0n ? -number : number).padStart(precision ?? 0, "0")];
    }
    case "o":
    case "x":
    case "X": {
      if (typeof value !== "bigint" && typeof value !== "boolean") {
        throw typeError(`%${type} format: an integer is required, not ${typeNameOf(value)}`);
      }
      const number = BigInt(value);
      const digits = (number < 0n ? -number : number).toString(type === "o" ? 8 : 16).padStart(precision ?? 0, "0");
      const prefix = flags.includes("#") ? `0${type}` : "";
      return [signOf(number < 0n, flags) + prefix, type === "X" ? digits.toUpperCase() : digits];
    }
    case "e":
    case "E":
    case "f":
    case "F":
    case "g":
    case "G":
      return realNumber(value, type, layout);
    default:
      throw new JinjaError("ValueError", `unsupported format character '${type}'`);
  }
}

function signOf(negative: boolean, flags: string): string {
  return negative ? "-" : flags.includes("+") ? "+" : flags.includes(" ") ? " " : "";
}

function character(value: Value): string {
  if (typeof value === "bigint" && value >= 0n && value <= 0x10ffffn) {
    return String.fromCodePoint(Number(value));
  }
  if (typeof value === "string" && codePointLength(value) === 1) {
    return value;
  }
  throw typeError("%c requires int or char");
}

function wholeNumber(value: Value, type: string): bigint {
  if (typeof value === "bigint" || typeof value === "boolean") {
    return BigInt(value);
  }
  if (typeof value !== "number") {
    throw typeError(`%${type} format: a real number is required, not ${typeNameOf(value)}`);
  }
  if (!Number.isFinite(value)) {
    throw new JinjaError(
      Number.isNaN(value) ? "ValueError" : "OverflowError",
      "cannot convert float NaN or infinity to integer",
    );
  }
  return BigInt(Math.trunc(value));
}

function realNumber(value: Value, type: string, layout: Layout): [string, string] {
  const number =
    typeof value === "number"
      ? value
      : typeof value === "bigint" || typeof value === "boolean"
        ? Number(value)
        : undefined;
  if (number === undefined) {
    throw typeError(`must be real number, not ${typeNameOf(value)}`);
  }
  const sign = signOf(number < 0 || Object.is(number, -0), layout.flags);
  const text = realDigits(number, type.toLowerCase(), layout.precision ?? 6, layout.flags.includes("#"));
  return [sign, type < "a" ? text.toUpperCase() : text];
}

/** The digits of a float's magnitude in one of the forms e, f and g. */
export function realDigits(value: number, form: string, precision: number, alternate: boolean): string {
  if (!Number.isFinite(value)) {
    return Number.isNaN(value) ? "nan" : "inf";
  }
  if (form === "g") {
    return generalDigits(value, precision, alternate);
  }
  const text = form === "e" ? exponentDigits(value, precision) : fixedDigits(value, precision);
  return alternate && precision === 0 ? text.replace(/(?=e|$)/, ".") : text;
}
