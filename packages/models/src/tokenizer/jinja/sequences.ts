/** Truth, length, iteration and slicing of values. */
import { JinjaError } from "./errors.ts";
import { codePointLength, codePoints, hasSurrogates } from "./strings.ts";
import {
  Dict,
  DictView,
  Lazy,
  RangeValue,
  Tuple,
  typeError,
  typeNameOf,
  Undefined,
  type Runtime,
  type Value,
} from "./values.ts";

export function isTrue(value: Value): boolean {
  if (value === null) {
    return false;
  }
  if (typeof value !== "object") {
    return Boolean(value) || Number.isNaN(value);
  }
  if (value instanceof Undefined) {
    value.passAsEmpty();
    return false;
  }
  const length = lengthOrUndefined(value);
  return length === undefined || length > 0;
}

/** `len(value)`, or undefined for values without a length. */
export function lengthOrUndefined(value: Value): number | undefined {
  if (typeof value === "string") {
    return codePointLength(value);
  }
  if (Array.isArray(value)) {
    return value.length;
  }
  if (value instanceof Tuple) {
    return value.items.length;
  }
  if (value instanceof Dict) {
    return value.size;
  }
  if (value instanceof DictView) {
    return value.dict.size;
  }
  if (value instanceof RangeValue) {
    return value.length;
  }
  if (value instanceof Undefined) {
    value.passAsEmpty();
    return 0;
  }
  return undefined;
}

export function lengthOf(value: Value): number {
  const length = lengthOrUndefined(value);
  if (length === undefined) {
    throw typeError(`object of type '${typeNameOf(value)}' has no len()`);
  }
  return length;
}

/** What `iter(value)` gives, or undefined for values that cannot be gone through. A generator continues where it was left. */
export function iteratorOrUndefined(value: Value): Iterator<Value> | undefined {
  if (typeof value === "string") {
    return codePoints(value).values();
  }
  if (Array.isArray(value)) {
    return value.values();
  }
  if (value instanceof Tuple) {
    return value.items.values();
  }
  if (value instanceof Dict) {
    return value.keys().values();
  }
  if (value instanceof DictView) {
    return value.list().values();
  }
  if (value instanceof RangeValue) {
    return rangeItems(value);
  }
  if (value instanceof Lazy) {
    return value.iterator;
  }
  if (value instanceof Undefined) {
    value.passAsEmpty();
    return [].values();
  }
  return undefined;
}

function* rangeItems(range: RangeValue): Generator<Value, undefined> {
  for (let index = 0; index < range.length; index++) {
    yield range.at(index);
  }
}

export function iteratorOf(value: Value): Iterator<Value> {
  const iterator = iteratorOrUndefined(value);
  if (iterator === undefined) {
    throw typeError(`'${typeNameOf(value)}' object is not iterable`);
  }
  return iterator;
}

/** Goes through a value, charging one step an item. */
export function* each(value: Value, runtime: Runtime): Generator<Value, void, undefined> {
  const iterator = iteratorOf(value);
  for (let next = iterator.next(); next.done !== true; next = iterator.next()) {
    runtime.budget.step();
    yield next.value;
  }
}

export function listOf(value: Value, runtime: Runtime): Value[] {
  const items: Value[] = [];
  for (const item of each(value, runtime)) {
    items.push(item);
    if (items.length % 4096 === 0) {
      runtime.budget.list(items.length);
    }
  }
  return items;
}

/** An int where Python wants an index. */
export function indexOf(value: Value): bigint {
  if (typeof value === "boolean") {
    return value ? 1n : 0n;
  }
  if (typeof value !== "bigint") {
    throw typeError(`'${typeNameOf(value)}' object cannot be interpreted as an integer`);
  }
  return value;
}

/** An int as a JavaScript number; those beyond 2^53 become its bounds, which no length reaches. */
export function countOf(value: Value): number {
  const index = indexOf(value);
  return Number(
    index > 9007199254740991n ? 9007199254740991n : index < -9007199254740991n ? -9007199254740991n : index,
  );
}

/** Positions that `start:stop:step` takes of `length` items. */
function slicePositions(length: number, start: Value, stop: Value, step: Value): number[] {
  const stride = step === null ? 1 : countOf(step);
  if (stride === 0) {
    throw new JinjaError("ValueError", "slice step cannot be zero");
  }
  const backwards = stride < 0;
  const low = backwards ? -1 : 0;
  const high = backwards ? length - 1 : length;
  const bound = (value: Value, otherwise: number): number => {
    if (value === null) {
      return otherwise;
    }
    const at = countOf(value);
    return Math.min(Math.max(at < 0 ? at + length : at, low), high);
  };
  const from = bound(start, backwards ? length - 1 : 0);
  const to = bound(stop, backwards ? -1 : length);
  const positions: number[] = [];
  for (let at = from; backwards ? at > to : at < to; at += stride) {
    positions.push(at);
  }
  return positions;
}

/** `value[start:stop:step]`. */
export function sliceOf(value: Value, start: Value, stop: Value, step: Value, runtime: Runtime): Value {
  if (value instanceof Undefined) {
    value.fail();
  }
  if (value instanceof Dict) {
    throw typeError("unhashable type: 'slice'");
  }
  const items = Array.isArray(value) ? value : value instanceof Tuple ? value.items : undefined;
  if (typeof value !== "string" && items === undefined && !(value instanceof RangeValue)) {
    throw typeError(`'${typeNameOf(value)}' object is not subscriptable`);
  }
  if ([start, stop, step].some((bound) => bound !== null && typeof bound !== "bigint" && typeof bound !== "boolean")) {
    throw typeError("slice indices must be integers or None or have an __index__ method");
  }
  if (typeof value === "string") {
    return sliceText(value, start, stop, step, runtime);
  }
  if (value instanceof RangeValue) {
    const positions = slicePositions(value.length, start, stop, step);
    const stride = BigInt(step === null ? 1 : countOf(step)) * value.step;
    const from = value.at(positions[0] ?? 0);
    return new RangeValue(from, from + stride * BigInt(positions.length), stride, positions.length);
  }
  const all = items ?? [];
  runtime.budget.list(all.length);
  const taken = slicePositions(all.length, start, stop, step).map((at) => all[at] ?? null);
  return Array.isArray(value) ? taken : new Tuple(taken);
}

function sliceText(text: string, start: Value, stop: Value, step: Value, runtime: Runtime): string {
  runtime.budget.text(text.length);
  if (!hasSurrogates(text)) {
    const positions = slicePositions(text.length, start, stop, step);
    const [first = 0] = positions;
    return step === null ? text.slice(first, first + positions.length) : positions.map((at) => text[at]).join("");
  }
  const points = codePoints(text);
  return slicePositions(points.length, start, stop, step)
    .map((at) => points[at])
    .join("");
}
