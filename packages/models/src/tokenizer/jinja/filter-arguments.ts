import { getItem } from "./access.ts";
import { JinjaError } from "./errors.ts";
import { compareText } from "./strings.ts";
import { isOrdered } from "./operators.ts";
import { Undefined, type CallArguments, type Runtime, type Value } from "./values.ts";

export type Filter = (value: Value, call: CallArguments, runtime: Runtime) => Value;

/** A function that follows an attribute path ("a.b", "items.0", or an index) into a value; no path gives the value itself. */
export function attributeGetter(path: Value | undefined, runtime: Runtime, otherwise?: Value): (item: Value) => Value {
  const parts: Value[] =
    path === undefined || path === null
      ? []
      : typeof path === "string"
        ? path.split(".").map((part) => (/^\p{Nd}+$/u.test(part) ? BigInt(part) : part))
        : [path];
  return (item) => {
    let value = item;
    for (const part of parts) {
      value = getItem(value, part, runtime);
      if (otherwise !== undefined && otherwise !== null && value instanceof Undefined) {
        value = otherwise;
      }
    }
    return value;
  };
}

export function lowered(value: Value): Value {
  return typeof value === "string" ? value.toLowerCase() : value;
}

/** A stable sort by keys, with Python's errors for what has no order. */
export function sortedBy(
  items: readonly Value[],
  key: (item: Value) => Value,
  reverse: boolean,
  runtime: Runtime,
): Value[] {
  const keyed = items.map((item) => ({ item, key: key(item) }));
  runtime.budget.step(items.length * Math.ceil(Math.log2(items.length + 2)));
  keyed.sort((a, b) => {
    const sign = order(a.key, b.key, runtime);
    return reverse ? -sign : sign;
  });
  return keyed.map((entry) => entry.item);
}

function order(a: Value, b: Value, runtime: Runtime): number {
  if (typeof a === "string" && typeof b === "string") {
    return compareText(a, b);
  }
  return isOrdered("<", a, b, runtime) ? -1 : isOrdered("<", b, a, runtime) ? 1 : 0;
}

export function filterArgumentError(message: string): JinjaError {
  return new JinjaError("FilterArgumentError", message);
}
