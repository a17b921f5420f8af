/** Comparison and arithmetic by Python's rules, with its messages. */
import { JinjaError } from "./errors.ts";
import { formatPercent } from "./percent-format.ts";
import { iteratorOrUndefined } from "./sequences.ts";
import { compareText } from "./strings.ts";
import type { ArithmeticOperator } from "./syntax-tree.ts";
import {
  Dict,
  DictView,
  RangeValue,
  Tuple,
  typeError,
  typeNameOf,
  Undefined,
  type Runtime,
  type Value,
} from "./values.ts";

const DEEPEST = 200;

/** `a == b`: numbers by value across bool, int and float; lists, tuples and dicts by their items. */
export function isEqual(a: Value, b: Value, runtime: Runtime, depth = 0): boolean {
  if (a instanceof Undefined || b instanceof Undefined) {
    for (const side of [a, b]) {
      if (side instanceof Undefined) {
        side.passAsEmpty();
      }
    }
    return a instanceof Undefined && b instanceof Undefined;
  }
  if (a === b) {
    return true;
  }
  const left = numberOf(a);
  const right = numberOf(b);
  if (left !== undefined && right !== undefined) {
    return compareNumbers(left, right) === 0;
  }
  if (depth > DEEPEST) {
    throw new JinjaError("LimitError", `compared values nest deeper than ${DEEPEST} levels`);
  }
  const sameItems = (x: readonly Value[], y: readonly Value[]): boolean => {
    runtime.budget.step(Math.min(x.length, y.length));
    return x.length === y.length && x.every((item, index) => isEqual(item, y[index] ?? null, runtime, depth + 1));
  };
  if (Array.isArray(a)) {
    return Array.isArray(b) && sameItems(a, b);
  }
  if (a instanceof Tuple) {
    return b instanceof Tuple && sameItems(a.items, b.items);
  }
  if (a instanceof Dict) {
    return b instanceof Dict && sameDicts(a, b, runtime, depth + 1);
  }
  if (a instanceof RangeValue && b instanceof RangeValue) {
    return a.length === b.length && (a.length === 0 || (a.start === b.start && (a.length === 1 || a.step === b.step)));
  }
  return false;
}

function sameDicts(a: Dict, b: Dict, runtime: Runtime, depth: number): boolean {
  if (a.size !== b.size) {
    return false;
  }
  for (const [key, value] of a.entries()) {
    runtime.budget.step();
    const other = b.get(key);
    if (other === undefined || !isEqual(value, other, runtime, depth)) {
      return false;
    }
  }
  return true;
}

export type Order = "<" | "<=" | ">" | ">=";

function holds(order: Order, sign: number): boolean {
  return order === "<" ? sign < 0 : order === "<=" ? sign <= 0 : order === ">" ? sign > 0 : sign >= 0;
}

/** `a < b` and its kin. */
export function isOrdered(order: Order, a: Value, b: Value, runtime: Runtime, depth = 0): boolean {
  failOnUndefined(a, b);
  const left = numberOf(a);
  const right = numberOf(b);
  if (left !== undefined && right !== undefined) {
    const sign = compareNumbers(left, right);
    return !Number.isNaN(sign) && holds(order, sign);
  }
  if (typeof a === "string" && typeof b === "string") {
    runtime.budget.text(Math.min(a.length, b.length));
    return holds(order, compareText(a, b));
  }
  const items =
    Array.isArray(a) && Array.isArray(b)
      ? [a, b]
      : a instanceof Tuple && b instanceof Tuple
        ? [a.items, b.items]
        : undefined;
  if (items === undefined || depth > DEEPEST) {
    throw typeError(`'${order}' not supported between instances of '${typeNameOf(a)}' and '${typeNameOf(b)}'`);
  }
  const [first = [], second = []] = items;
  for (let index = 0; index < Math.min(first.length, second.length); index++) {
    runtime.budget.step();
    const x = first[index] ?? null;
    const y = second[index] ?? null;
    if (!isEqual(x, y, runtime)) {
      return isOrdered(order, x, y, runtime, depth + 1);
    }
  }
  return holds(order, first.length - second.length);
}

/** `item in container`. */
export function contains(container: Value, item: Value, runtime: Runtime): boolean {
  if (typeof container === "string") {
    if (typeof item !== "string") {
      throw typeError(`'in <string>' requires string as left operand, not ${typeNameOf(item)}`);
    }
    runtime.budget.text(container.length);
    return container.includes(item);
  }
  if (container instanceof Dict) {
    return container.has(item);
  }
  if (container instanceof DictView && container.typeName === "dict_keys") {
    return container.dict.has(item);
  }
  const iterator = iteratorOrUndefined(container);
  if (iterator === undefined) {
    throw typeError(`argument of type '${typeNameOf(container)}' is not iterable`);
  }
  for (let next = iterator.next(); next.done !== true; next = iterator.next()) {
    runtime.budget.step();
    if (isEqual(next.value, item, runtime)) {
      return true;
    }
  }
  return false;
}

/** Numbers and bools as what they count for; undefined for everything else. */
export function numberOf(value: Value): bigint | number | undefined {
  return typeof value === "bigint" || typeof value === "number"
    ? value
    : typeof value === "boolean"
      ? BigInt(value)
      : undefined;
}

/** Negative, zero or positive; NaN where one is. JavaScript compares bigint with number exactly. */
function compareNumbers(a: bigint | number, b: bigint | number): number {
  return a < b ? -1 : a > b ? 1 : a == b ? 0 : Number.NaN;
}

function failOnUndefined(...values: Value[]): void {
  for (const value of values) {
    if (value instanceof Undefined) {
      value.fail();
    }
  }
}

function unsupported(operator: string, a: Value, b: Value): JinjaError {
  const name = operator === "**" ? "** or pow()" : operator;
  return typeError(`unsupported operand type(s) for ${name}: '${typeNameOf(a)}' and '${typeNameOf(b)}'`);
}

/** `a operator b`. */
export function arithmetic(operator: ArithmeticOperator, a: Value, b: Value, runtime: Runtime): Value {
  if (operator === "%" && typeof a === "string") {
    return formatPercent(a, b, runtime);
  }
  failOnUndefined(a, b);
  const left = numberOf(a);
  const right = numberOf(b);
  if (left !== undefined && right !== undefined) {
    return typeof left === "bigint" && typeof right === "bigint"
      ? integers(operator, left, right)
      : floats(operator, toFloat(left), toFloat(right));
  }
  if (operator === "+") {
    return add(a, b, runtime);
  }
  if (operator === "*") {
    const [sequence, times] = left !== undefined ? [b, a] : [a, b];
    return repeat(sequence, times, runtime);
  }
  throw unsupported(operator, a, b);
}

function add(a: Value, b: Value, runtime: Runtime): Value {
  if (typeof a === "string" && typeof b === "string") {
    runtime.budget.text(a.length + b.length);
    return a + b;
  }
  if (Array.isArray(a) && Array.isArray(b)) {
    runtime.budget.list(a.length + b.length);
    return [...a, ...b];
  }
  if (a instanceof Tuple && b instanceof Tuple) {
    runtime.budget.list(a.items.length + b.items.length);
    return new Tuple([...a.items, ...b.items]);
  }
  if (typeof a === "string" || Array.isArray(a) || a instanceof Tuple) {
    throw typeError(`can only concatenate ${typeNameOf(a)} (not "${typeNameOf(b)}") to ${typeNameOf(a)}`);
  }
  throw unsupported("+", a, b);
}

function repeat(sequence: Value, times: Value, runtime: Runtime): Value {
  const isSequence = typeof sequence === "string" || Array.isArray(sequence) || sequence instanceof Tuple;
  if (!isSequence) {
    throw unsupported("*", sequence, times);
  }
  if (typeof times !== "bigint" && typeof times !== "boolean") {
    throw typeError(`can't multiply sequence by non-int of type '${typeNameOf(times)}'`);
  }
  const wanted = BigInt(times);
  // No limit is above 2^31, and the budget refuses what is above its own.
  const count = wanted <= 0n ? 0 : wanted > 2147483647n ? 2147483647 : Number(wanted);
  if (typeof sequence === "string") {
    runtime.budget.text(sequence.length * count);
    return sequence.repeat(count);
  }
  const items = Array.isArray(sequence) ? sequence : sequence.items;
  runtime.budget.list(items.length * count);
  const repeated = Array.from({ length: count }, () => items).flat();
  return Array.isArray(sequence) ? repeated : new Tuple(repeated);
}

/** A number as a float. */
export function toFloat(value: bigint | number): number {
  const float = Number(value);
  if (typeof value === "bigint" && !Number.isFinite(float)) {
    throw new JinjaError("OverflowError", "int too large to convert to float");
  }
  return float;
}

/** Bits that an int may grow to. */
const INTEGER_BITS = 1 << 16;

function bounded(value: bigint): bigint {
  if (BigInt.asIntN(INTEGER_BITS, value) !== value) {
    throw new JinjaError("LimitError", `an integer grows beyond ${INTEGER_BITS} bits`);
  }
  return value;
}

function integers(operator: ArithmeticOperator, a: bigint, b: bigint): Value {
  switch (operator) {
    case "+":
      return bounded(a + b);
    case "-":
      return bounded(a - b);
    case "*":
      return bounded(a * b);
    case "/":
      return divide(a, b);
    case "//":
      if (b === 0n) {
        throw new JinjaError("ZeroDivisionError", "integer division or modulo by zero");
      }
      return a / b - (a % b !== 0n && a < 0n !== b < 0n ? 1n : 0n);
    case "%": {
      if (b === 0n) {
        throw new JinjaError("ZeroDivisionError", "integer modulo by zero");
      }
      const rest = a % b;
      return rest !== 0n && rest < 0n !== b < 0n ? rest + b : rest;
    }
    default:
      return power(a, b);
  }
}

/** The quotient of ints, rounded once. */
function divide(a: bigint, b: bigint): number {
  if (b === 0n) {
    throw new JinjaError("ZeroDivisionError", "division by zero");
  }
  if (Number.isSafeInteger(Number(a)) && Number.isSafeInteger(Number(b))) {
    return Number(a) / Number(b);
  }
  // Scale so that the integer quotient holds more than 64 significant bits; its last bit keeps what was cut off.
  const negative = a < 0n !== b < 0n;
  const dividend = a < 0n ? -a : a;
  const divisor = b < 0n ? -b : b;
  const shift = BigInt(Math.max(0, 66 + divisor.toString(2).length - dividend.toString(2).length));
  const scaled = dividend << shift;
  const quotient = (scaled / divisor) | (scaled % divisor === 0n ? 0n : 1n);
  const result = Number(quotient) / 2 ** Number(shift);
  if (!Number.isFinite(result)) {
    throw new JinjaError("OverflowError", "integer division result too large for a float");
  }
  return negative ? -result : result;
}

function power(a: bigint, b: bigint): Value {
  if (b < 0n) {
    if (a === 0n) {
      throw new JinjaError("ZeroDivisionError", "0.0 cannot be raised to a negative power");
    }
    return toFloat(a) ** Number(b);
  }
  const bits = (a < 0n ? -a : a).toString(2).length;
  if (a !== 0n && a !== 1n && a !== -1n && b * BigInt(bits) > BigInt(INTEGER_BITS)) {
    throw new JinjaError("LimitError", `an integer grows beyond ${INTEGER_BITS} bits`);
  }
  return a === 0n || a === 1n ? (b === 0n ? 1n : a) : a === -1n ? (b % 2n === 0n ? 1n : -1n) : a ** b;
}

function floats(operator: ArithmeticOperator, a: number, b: number): Value {
  switch (operator) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    case "/":
      if (b === 0) {
        throw new JinjaError("ZeroDivisionError", "float division by zero");
      }
      return a / b;
    case "//": {
      if (b === 0) {
        throw new JinjaError("ZeroDivisionError", "float floor division by zero");
      }
      return Math.floor((a - modulo(a, b)) / b + 0.5);
    }
    case "%":
      if (b === 0) {
        throw new JinjaError("ZeroDivisionError", "float modulo");
      }
      return modulo(a, b);
    default: {
      if (a === 0 && b < 0) {
        throw new JinjaError("ZeroDivisionError", "0.0 cannot be raised to a negative power");
      }
      if (a < 0 && !Number.isInteger(b) && Number.isFinite(b)) {
        throw new JinjaError(
          "ValueError",
          "a power of a negative number to a fraction is complex, which templates here do not have",
        );
      }
      const result = a ** b;
      if (!Number.isFinite(result) && Number.isFinite(a) && Number.isFinite(b)) {
        throw new JinjaError("OverflowError", "(34, 'Numerical result out of range')");
      }
      return result;
    }
  }
}

/** Python's float remainder: it has the divisor's sign. */
function modulo(a: number, b: number): number {
  const rest = a % b;
  return rest !== 0 ? (rest < 0 !== b < 0 ? rest + b : rest) : b < 0 ? -0 : 0;
}

export function negate(value: Value, sign: "+" | "-"): Value {
  failOnUndefined(value);
  const number = numberOf(value);
  if (number === undefined) {
    throw typeError(`bad operand type for unary ${sign}: '${typeNameOf(value)}'`);
  }
  return sign === "-" ? -number : number;
}
