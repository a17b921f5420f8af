/**
 * Attributes and items of values, as Jinja2's immutable sandbox gives them: `a.b` looks for a method first and a key second,
 * `a["b"]` the other way round; what changes a value, and every name that starts with an underscore, is out of reach.
 */
import { formatBraces, mappingArguments } from "./brace-format.ts";
import { bind } from "./call-arguments.ts";
import { JinjaError } from "./errors.ts";
import { LoopContext } from "./loop.ts";
import { isEqual } from "./operators.ts";
import { MISSING_STRING_METHODS, STRING_METHODS, type Method } from "./string-methods.ts";
import { codePoints, hasSurrogates } from "./strings.ts";
import { integerText, representationOf } from "./text.ts";
import {
  Callable,
  Dict,
  DictView,
  Namespace,
  RangeValue,
  Tuple,
  typeNameOf,
  Undefined,
  type Runtime,
  type Value,
} from "./values.ts";

/** Attributes that every object of Python has: reaching for one is a breach, not a miss. */
const INTERNAL_ATTRIBUTES: ReadonlySet<string> = new Set(
  "class doc init new init_subclass subclasshook dir getattribute setattr delattr hash repr str format sizeof reduce reduce_ex eq ne lt le gt ge len iter getitem setitem delitem contains add mul rmul mod rmod call globals code closure defaults dict module self func"
    .split(" ")
    .map((name) => `__${name}__`),
);

const LIST_MUTATORS: ReadonlySet<string> = new Set([
  "append",
  "clear",
  "pop",
  "reverse",
  "insert",
  "sort",
  "extend",
  "remove",
]);
const DICT_MUTATORS: ReadonlySet<string> = new Set(["clear", "pop", "popitem", "setdefault", "update"]);

function position(items: readonly Value[], wanted: Value | undefined, runtime: Runtime): number {
  runtime.budget.list(items.length);
  return items.findIndex((item) => isEqual(item, wanted ?? null, runtime));
}

const SEQUENCE_METHODS: ReadonlyMap<string, Method<readonly Value[]>> = new Map<string, Method<readonly Value[]>>([
  [
    "count",
    (items, call, runtime) => {
      const [wanted = null] = bind(call, "count", ["value"], 1);
      return BigInt(items.filter((item) => isEqual(item, wanted, runtime)).length);
    },
  ],
  [
    "index",
    (items, call, runtime) => {
      const [wanted = null] = bind(call, "index", ["value"], 1);
      const at = position(items, wanted, runtime);
      if (at === -1) {
        throw new JinjaError("ValueError", `${representationOf(wanted, runtime.budget)} is not in list`);
      }
      return BigInt(at);
    },
  ],
]);

const DICT_METHODS: ReadonlyMap<string, Method<Dict>> = new Map<string, Method<Dict>>([
  [
    "get",
    (dict, call) => {
      const [key = null, otherwise = null] = bind(call, "get", ["key", "default"], 1);
      const value = dict.get(key);
      return value === undefined ? otherwise : value;
    },
  ],
  ["keys", (dict) => new DictView("dict_keys", dict)],
  ["values", (dict) => new DictView("dict_values", dict)],
  ["items", (dict) => new DictView("dict_items", dict)],
  ["copy", (dict) => copyOf(dict)],
]);

function copyOf(dict: Dict): Dict {
  const copy = new Dict();
  for (const [key, value] of dict.entries()) {
    copy.set(key, value);
  }
  return copy;
}

function boundMethod<T>(self: T, name: string, method: Method<T>): Callable {
  return new Callable(name, (call, runtime) => method(self, call, runtime));
}

const UNSAFE = Symbol("unsafe");

/** What an attribute's name leads to: a value, UNSAFE where the sandbox stops, or undefined where there is none. */
function attributeOf(object: Value, name: string): Value | typeof UNSAFE | undefined {
  if (INTERNAL_ATTRIBUTES.has(name)) {
    return UNSAFE;
  }
  if (object instanceof Undefined) {
    return object.fail();
  }
  if (typeof object === "string") {
    return stringAttribute(object, name);
  }
  if (Array.isArray(object)) {
    return LIST_MUTATORS.has(name) ? UNSAFE : listAttribute(object, name);
  }
  if (object instanceof Tuple) {
    const at = object.names.indexOf(name);
    const method = SEQUENCE_METHODS.get(name);
    return at !== -1 ? object.items[at] : method && boundMethod(object.items, name, method);
  }
  if (object instanceof Dict) {
    const method = DICT_METHODS.get(name);
    return DICT_MUTATORS.has(name) ? UNSAFE : method && boundMethod(object, name, method);
  }
  if (object instanceof Namespace) {
    return object.get(name);
  }
  if (object instanceof LoopContext) {
    return object.attribute(name);
  }
  if (object instanceof RangeValue) {
    return name === "start" ? object.start : name === "stop" ? object.stop : name === "step" ? object.step : undefined;
  }
  return object instanceof Callable ? object.attributes.get(name) : undefined;
}

function listAttribute(list: Value[], name: string): Value | undefined {
  const method = SEQUENCE_METHODS.get(name);
  return name === "copy" ? new Callable(name, () => [...list]) : method && boundMethod(list, name, method);
}

function stringAttribute(text: string, name: string): Value | undefined {
  if (name === "format" || name === "format_map") {
    return new Callable(name, (call, runtime) =>
      formatBraces(
        text,
        name === "format" ? call : mappingArguments(call),
        { attribute: getAttribute, item: getItem },
        runtime,
      ),
    );
  }
  const method = STRING_METHODS.get(name);
  if (method !== undefined) {
    return new Callable(name, (call, runtime) => {
      runtime.budget.text(text.length);
      return method(text, call, runtime);
    });
  }
  if (MISSING_STRING_METHODS.has(name)) {
    throw new JinjaError("TemplateRuntimeError", `the string method ${name}() is not supported in templates here`);
  }
  return undefined;
}

/** The item at an index or key, or undefined where Python raises a LookupError or a TypeError. */
function itemOf(object: Value, index: Value): Value | undefined {
  if (object instanceof Undefined) {
    return object.fail();
  }
  if (object instanceof Dict) {
    return Array.isArray(index) || index instanceof Dict || index instanceof DictView ? undefined : object.get(index);
  }
  const at = typeof index === "bigint" ? index : typeof index === "boolean" ? BigInt(index) : undefined;
  if (at === undefined || at > 9007199254740991n || at < -9007199254740991n) {
    return undefined;
  }
  if (typeof object === "string") {
    if (hasSurrogates(object)) {
      return codePoints(object).at(Number(at));
    }
    return object.at(Number(at));
  }
  if (object instanceof RangeValue) {
    const position = Number(at) + (at < 0n ? object.length : 0);
    return position >= 0 && position < object.length ? object.at(position) : undefined;
  }
  return Array.isArray(object)
    ? object.at(Number(at))
    : object instanceof Tuple
      ? object.items.at(Number(at))
      : undefined;
}

function missing(object: Value, name: Value, runtime: Runtime): Undefined {
  const owner = object === null ? "None" : `${typeNameOf(object)} object`;
  const message =
    typeof name === "string"
      ? `'${owner}' has no attribute '${name}'`
      : `${owner} has no element ${typeof name === "bigint" ? integerText(name) : representationOf(name, runtime.budget)}`;
  return new Undefined(message, runtime.strictUndefined);
}

function unsafe(object: Value, name: string, runtime: Runtime): Undefined {
  return new Undefined(
    `access to attribute '${name}' of '${typeNameOf(object)}' object is unsafe.`,
    runtime.strictUndefined,
    "SecurityError",
  );
}

/** `object.name`. */
export function getAttribute(object: Value, name: string, runtime: Runtime): Value {
  const value = attributeOf(object, name);
  if (value !== undefined) {
    return value === UNSAFE ? unsafe(object, name, runtime) : value;
  }
  const item = itemOf(object, name);
  return item === undefined ? missing(object, name, runtime) : item;
}

/** `object[index]`. */
export function getItem(object: Value, index: Value, runtime: Runtime): Value {
  const value = itemOf(object, index);
  if (value !== undefined) {
    return value;
  }
  if (typeof index === "string") {
    const attribute = attributeOf(object, index);
    if (attribute !== undefined) {
      return attribute === UNSAFE ? unsafe(object, index, runtime) : attribute;
    }
  }
  return missing(object, index, runtime);
}
