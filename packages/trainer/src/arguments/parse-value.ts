import { ArgumentError } from "../errors.ts";
import type { ArgumentDefinition, ArgumentType } from "./definition.ts";

const truthy = new Set(["yes", "true", "t", "y", "1"]);
const falsy = new Set(["no", "false", "f", "n", "0"]);

/**
 * Reads a value as the command line, a YAML file or a caller gives it: text, a list of texts, `true` for a bare flag, or a value that
 * already has its type. `null`, and the text `None`, mean "not set".
 *
 * @param where how to name the place in an error: `--learning_rate`, `train.yaml:3:1 learning_rate`, `learningRate`
 * @throws ArgumentError when the value is not of the argument's type or out of its range
 */
export function parseArgumentValue(definition: ArgumentDefinition, value: unknown, where: string): unknown {
  if (value === null || value === undefined || (value === "None" && definition.default === null))
    return definition.default;
  const parsed = parseTyped(definition.type, value, where);
  checkChoice(definition, parsed, where);
  checkRange(definition, parsed, where);
  return parsed;
}

/** The value as the type has it; without choices and ranges, which inert arguments do not have. */
export function parseTyped(type: ArgumentType, value: unknown, where: string): unknown {
  switch (type) {
    case "string":
      return parseString(value, where);
    case "integer":
      return parseInteger(value, where);
    case "number":
      return parseNumber(value, where);
    case "boolean":
      return parseBoolean(value, where);
    case "booleanOrString":
      return typeof value === "string" ? (booleanOfText(value) ?? value) : parseBoolean(value, where);
    case "strings":
      return listOf(value).map((item) => parseString(item, where));
    case "stringOrStrings": {
      const items = listOf(value).map((item) => parseString(item, where));
      const [only] = items;
      return only !== undefined && items.length === 1 && (typeof value === "string" || only === "all-linear")
        ? only
        : items;
    }
    case "integers":
      return listOf(value).map((item) => parseInteger(item, where));
    default: // "json"
      return parseJson(value, where);
  }
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [value];
}

/** A flag given with one word may arrive as a list of one. */
function single(value: unknown, where: string): unknown {
  if (!Array.isArray(value)) return value;
  if (value.length !== 1)
    throw new ArgumentError(`${where}: expected one value, found ${value.length} (${value.map(show).join(" ")}).`);
  return value[0];
}

function parseString(value: unknown, where: string): string {
  const one = single(value, where);
  if (typeof one === "string") return one;
  if (typeof one === "number") return String(one);
  throw new ArgumentError(`${where}: expected a word, found ${one === true ? "nothing after the flag" : show(one)}.`);
}

function parseNumber(value: unknown, where: string): number {
  const one = single(value, where);
  if (typeof one === "number" && Number.isFinite(one)) return one;
  const isWritten = typeof one === "string" && /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(one.trim());
  if (isWritten && Number.isFinite(Number(one))) return Number(one);
  throw new ArgumentError(
    `${where}: expected a number such as 8, 0.1 or 2e-4, found ${one === true ? "nothing after the flag" : show(one)}.`,
  );
}

function parseInteger(value: unknown, where: string): number {
  const one = single(value, where);
  const isWritten = typeof one === "string" && /^[+-]?\d+$/.test(one.trim());
  const number = typeof one === "number" || isWritten ? Number(one) : Number.NaN;
  if (Number.isSafeInteger(number)) return number;
  throw new ArgumentError(
    `${where}: expected a whole number, found ${one === true ? "nothing after the flag" : show(one)}.`,
  );
}

function booleanOfText(text: string): boolean | undefined {
  const word = text.trim().toLowerCase();
  return truthy.has(word) ? true : falsy.has(word) ? false : undefined;
}

function parseBoolean(value: unknown, where: string): boolean {
  const one = single(value, where);
  if (typeof one === "boolean") return one;
  const parsed = typeof one === "string" || typeof one === "number" ? booleanOfText(String(one)) : undefined;
  if (parsed !== undefined) return parsed;
  throw new ArgumentError(`${where}: expected yes/no, true/false, t/f, y/n or 1/0, found ${show(one)}.`);
}

function parseJson(value: unknown, where: string): Readonly<Record<string, unknown>> {
  const one = single(value, where);
  let parsed: unknown = one;
  if (typeof one === "string") {
    try {
      parsed = JSON.parse(one);
    } catch (error) {
      throw new ArgumentError(`${where}: expected a JSON object such as {"num_cycles": 2}, found ${show(one)}.`, {
        cause: error,
      });
    }
  }
  if (typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)) return parsed as Record<string, unknown>;
  throw new ArgumentError(`${where}: expected a JSON object such as {"num_cycles": 2}, found ${show(one)}.`);
}

function checkChoice(definition: ArgumentDefinition, value: unknown, where: string): void {
  const { choices } = definition;
  if (choices === undefined || (typeof value === "string" && choices.includes(value))) return;
  throw new ArgumentError(`${where}: expected one of ${choices.join(", ")}; found ${show(value)}.`);
}

function checkRange(definition: ArgumentDefinition, value: unknown, where: string): void {
  if (typeof value !== "number") return;
  const { minimum, maximum, above } = definition;
  if (minimum !== undefined && value < minimum)
    throw new ArgumentError(`${where}: expected at least ${minimum}, found ${value}.`);
  if (above !== undefined && value <= above)
    throw new ArgumentError(`${where}: expected more than ${above}, found ${value}.`);
  if (maximum !== undefined && value > maximum)
    throw new ArgumentError(`${where}: expected at most ${maximum}, found ${value}.`);
}

function show(value: unknown): string {
  const text = typeof value === "bigint" ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}
