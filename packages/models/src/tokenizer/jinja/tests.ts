/** Tests (`is …`). Names and parameters are Jinja2's. */
import { bind } from "./call-arguments.ts";
import { arithmetic, contains, isEqual, isOrdered, type Order } from "./operators.ts";
import { iteratorOrUndefined, lengthOrUndefined } from "./sequences.ts";
import { CHARACTER_TESTS } from "./strings.ts";
import { textOf } from "./text.ts";
import { Callable, Dict, DictView, Undefined, type CallArguments, type Runtime, type Value } from "./values.ts";

export type Test = (value: Value, call: CallArguments, runtime: Runtime) => boolean;

const plain =
  (name: string, test: (value: Value) => boolean): Test =>
  (value, call) => {
    bind(call, name, []);
    return test(value);
  };

const withOther =
  (name: string, test: (value: Value, other: Value, runtime: Runtime) => boolean): Test =>
  (value, call, runtime) => {
    const [other = null] = bind(call, name, ["other"], 1);
    return test(value, other, runtime);
  };

const ordered = (order: Order): Test =>
  withOther(order, (value, other, runtime) => isOrdered(order, value, other, runtime));
const equal = withOther("eq", isEqual);
const unequal = withOther("ne", (value, other, runtime) => !isEqual(value, other, runtime));

const remainder = (value: Value, divisor: bigint, rest: bigint, runtime: Runtime): boolean =>
  isEqual(arithmetic("%", value, divisor, runtime), rest, runtime);

const cased =
  (name: "islower" | "isupper"): Test =>
  (value, call, runtime) => {
    bind(call, name, []);
    return CHARACTER_TESTS.get(name)?.(textOf(value, runtime.budget)) === true;
  };

function isIterable(value: Value): boolean {
  if (value instanceof Undefined) {
    value.passAsEmpty();
    return true;
  }
  return iteratorOrUndefined(value) !== undefined;
}

/** Sized, with items by index or key; a strict undefined value is not even asked. */
function isSequence(value: Value): boolean {
  return value instanceof Undefined
    ? !value.strict
    : !(value instanceof DictView) && lengthOrUndefined(value) !== undefined;
}

export const TESTS: ReadonlyMap<string, Test> = new Map<string, Test>([
  ["defined", plain("defined", (value) => !(value instanceof Undefined))],
  ["undefined", plain("undefined", (value) => value instanceof Undefined)],
  ["none", plain("none", (value) => value === null)],
  ["boolean", plain("boolean", (value) => typeof value === "boolean")],
  ["true", plain("true", (value) => value === true)],
  ["false", plain("false", (value) => value === false)],
  ["integer", plain("integer", (value) => typeof value === "bigint")],
  ["float", plain("float", (value) => typeof value === "number")],
  [
    "number",
    plain("number", (value) => typeof value === "bigint" || typeof value === "number" || typeof value === "boolean"),
  ],
  ["string", plain("string", (value) => typeof value === "string")],
  ["mapping", plain("mapping", (value) => value instanceof Dict)],
  ["iterable", plain("iterable", isIterable)],
  ["sequence", plain("sequence", isSequence)],
  ["callable", plain("callable", (value) => value instanceof Callable || value instanceof Undefined)],
  ["escaped", plain("escaped", () => false)],
  ["lower", cased("islower")],
  ["upper", cased("isupper")],
  ["odd", (value, call, runtime) => (bind(call, "odd", []), remainder(value, 2n, 1n, runtime))],
  ["even", (value, call, runtime) => (bind(call, "even", []), remainder(value, 2n, 0n, runtime))],
  [
    "divisibleby",
    withOther("divisibleby", (value, other, runtime) => isEqual(arithmetic("%", value, other, runtime), 0n, runtime)),
  ],
  ["sameas", withOther("sameas", (value, other) => value === other)],
  ["in", withOther("in", (value, other, runtime) => contains(other, value, runtime))],
  ["eq", equal],
  ["==", equal],
  ["equalto", equal],
  ["ne", unequal],
  ["!=", unequal],
  ["lt", ordered("<")],
  ["<", ordered("<")],
  ["lessthan", ordered("<")],
  ["le", ordered("<=")],
  ["<=", ordered("<=")],
  ["gt", ordered(">")],
  [">", ordered(">")],
  ["greaterthan", ordered(">")],
  ["ge", ordered(">=")],
  [">=", ordered(">=")],
]);
