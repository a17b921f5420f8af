/** Filters of lists, dicts and generators. Names and parameters are Jinja2's; those that are generators there are lazy here. */
import { getAttribute } from "./access.ts";
import { bind, textArgument } from "./call-arguments.ts";
import { JinjaError } from "./errors.ts";
import { attributeGetter, filterArgumentError, lowered, sortedBy, type Filter } from "./filter-arguments.ts";
import { arithmetic, isEqual, isOrdered } from "./operators.ts";
import { countOf, each, isTrue, iteratorOf, iteratorOrUndefined, listOf } from "./sequences.ts";
import { codePoints } from "./strings.ts";
import { textOf } from "./text.ts";
import {
  Dict,
  DictView,
  Lazy,
  RangeValue,
  Tuple,
  typeError,
  typeNameOf,
  Undefined,
  ValueSet,
  type CallArguments,
  type Runtime,
  type Value,
} from "./values.ts";

function generator(items: Iterator<Value>): Lazy {
  return new Lazy(items);
}

/** `select` and its kin: keeps items whose test (or truth) is `wanted`, of themselves or of an attribute. */
const selecting =
  (name: string, wanted: boolean, ofAttribute: boolean): Filter =>
  (value, call, runtime) =>
    generator(selected(name, value, call, runtime, wanted, ofAttribute));

function* selected(
  name: string,
  value: Value,
  call: CallArguments,
  runtime: Runtime,
  wanted: boolean,
  ofAttribute: boolean,
): Generator<Value, undefined> {
  if (!isTrue(value)) {
    return;
  }
  const rest = [...call.positional];
  if (ofAttribute && rest.length === 0) {
    throw filterArgumentError("Missing parameter for attribute name");
  }
  const get = ofAttribute ? attributeGetter(rest.shift(), runtime) : (item: Value) => item;
  const test = rest.shift();
  const testName = test === undefined ? undefined : textArgument(test, `${name} test name`);
  for (const item of each(value, runtime)) {
    const subject = get(item);
    const holds =
      testName === undefined
        ? isTrue(subject)
        : runtime.callTest(testName, subject, { positional: rest, keyword: call.keyword });
    if (holds === wanted) {
      yield item;
    }
  }
}

function* mapped(value: Value, call: CallArguments, runtime: Runtime): Generator<Value, undefined> {
  if (!isTrue(value)) {
    return;
  }
  const change = mapper(call, runtime);
  for (const item of each(value, runtime)) {
    yield change(item);
  }
}

function mapper(call: CallArguments, runtime: Runtime): (item: Value) => Value {
  const [name, ...positional] = call.positional;
  const attribute = call.keyword.get("attribute");
  if (name === undefined && attribute !== undefined) {
    const unexpected = [...call.keyword.keys()].find((key) => key !== "attribute" && key !== "default");
    if (unexpected !== undefined) {
      throw filterArgumentError(`Unexpected keyword argument '${unexpected}'`);
    }
    return attributeGetter(attribute, runtime, call.keyword.get("default"));
  }
  if (name === undefined) {
    throw filterArgumentError("map requires a filter argument");
  }
  const filter = textArgument(name, "map filter name");
  return (item) => runtime.callFilter(filter, item, { positional, keyword: call.keyword });
}

function* unique(value: Value, call: CallArguments, runtime: Runtime): Generator<Value, undefined> {
  const [caseSensitive = false, attribute] = bind(call, "unique", ["case_sensitive", "attribute"]);
  const get = attributeGetter(attribute, runtime);
  const seen = new ValueSet();
  for (const item of each(value, runtime)) {
    const key = get(item);
    if (seen.add(isTrue(caseSensitive) ? key : lowered(key))) {
      yield item;
    }
  }
}

function* batches(value: Value, call: CallArguments, runtime: Runtime): Generator<Value, undefined> {
  const [lineCount = 0n, fill = null] = bind(call, "batch", ["linecount", "fill_with"], 1);
  const size = countOf(lineCount);
  let batch: Value[] = [];
  for (const item of each(value, runtime)) {
    if (batch.length === size) {
      yield batch;
      batch = [];
    }
    batch.push(item);
  }
  if (batch.length > 0) {
    if (fill !== null && batch.length < size) {
      runtime.budget.list(size);
      batch.push(...Array.from({ length: size - batch.length }, () => fill));
    }
    yield batch;
  }
}

function* slices(value: Value, call: CallArguments, runtime: Runtime): Generator<Value, undefined> {
  const [count = 0n, fill = null] = bind(call, "slice", ["slices", "fill_with"], 1);
  const items = listOf(value, runtime);
  const number = countOf(count);
  if (number === 0) {
    throw filterArgumentError("slice needs at least one slice");
  }
  const size = Math.floor(items.length / number);
  const longer = items.length % number;
  let offset = 0;
  for (let index = 0; index < number; index++) {
    runtime.budget.step();
    const start = offset + index * size;
    offset += index < longer ? 1 : 0;
    const slice = items.slice(start, offset + (index + 1) * size);
    yield fill !== null && index >= longer ? [...slice, fill] : slice;
  }
}

function sort(value: Value, call: CallArguments, runtime: Runtime): Value {
  const [reverse = false, caseSensitive = false, attribute = null] = bind(call, "sort", [
    "reverse",
    "case_sensitive",
    "attribute",
  ]);
  const paths: Value[] = typeof attribute === "string" ? attribute.split(",") : [attribute];
  const getters = paths.map((path) => attributeGetter(path, runtime));
  const key = (item: Value): Value => getters.map((get) => (isTrue(caseSensitive) ? get(item) : lowered(get(item))));
  return sortedBy(listOf(value, runtime), key, isTrue(reverse), runtime);
}

function dictsort(value: Value, call: CallArguments, runtime: Runtime): Value {
  const [caseSensitive = false, by = "key", reverse = false] = bind(call, "dictsort", [
    "case_sensitive",
    "by",
    "reverse",
  ]);
  if (by !== "key" && by !== "value") {
    throw filterArgumentError('You can only sort by either "key" or "value"');
  }
  const index = by === "key" ? 0 : 1;
  const key = (item: Value): Value => {
    const part = item instanceof Tuple ? (item.items[index] ?? null) : null;
    return isTrue(caseSensitive) ? part : lowered(part);
  };
  return sortedBy(dictOf(value, "dictsort").items(), key, isTrue(reverse), runtime);
}

function dictOf(value: Value, filter: string): Dict {
  if (value instanceof Undefined) {
    value.fail();
  }
  if (!(value instanceof Dict)) {
    throw filter === "items"
      ? typeError("Can only get item pairs from a mapping.")
      : new JinjaError("AttributeError", `'${typeNameOf(value)}' object has no attribute 'items'`);
  }
  return value;
}

const extreme =
  (name: "min" | "max"): Filter =>
  (value, call, runtime) => {
    const [caseSensitive = false, attribute] = bind(call, name, ["case_sensitive", "attribute"]);
    const get = attributeGetter(attribute, runtime);
    const key = (item: Value): Value => (isTrue(caseSensitive) ? get(item) : lowered(get(item)));
    let best: { item: Value; key: Value } | undefined;
    for (const item of each(value, runtime)) {
      const candidate = { item, key: key(item) };
      if (best === undefined || isOrdered(name === "min" ? "<" : ">", candidate.key, best.key, runtime)) {
        best = candidate;
      }
    }
    return best === undefined
      ? new Undefined("No aggregated item, sequence was empty.", runtime.strictUndefined)
      : best.item;
  };

function groupby(value: Value, call: CallArguments, runtime: Runtime): Value {
  const [attribute = null, otherwise, caseSensitive = false] = bind(
    call,
    "groupby",
    ["attribute", "default", "case_sensitive"],
    1,
  );
  const get = attributeGetter(attribute, runtime, otherwise);
  const key = (item: Value): Value => (isTrue(caseSensitive) ? get(item) : lowered(get(item)));
  const groups: { key: Value; items: Value[] }[] = [];
  for (const item of sortedBy(listOf(value, runtime), key, false, runtime)) {
    const last = groups.at(-1);
    const itemKey = key(item);
    if (last !== undefined && isEqual(last.key, itemKey, runtime)) {
      last.items.push(item);
    } else {
      groups.push({ key: itemKey, items: [item] });
    }
  }
  return groups.map((group) => new Tuple([get(group.items[0] ?? null), group.items], ["grouper", "list"]));
}

function sum(value: Value, call: CallArguments, runtime: Runtime): Value {
  const [attribute, start = 0n] = bind(call, "sum", ["attribute", "start"]);
  const get = attributeGetter(attribute, runtime);
  if (typeof start === "string") {
    throw typeError("sum() can't sum strings [use ''.join(seq) instead]");
  }
  let total: Value = start;
  for (const item of each(value, runtime)) {
    total = arithmetic("+", total, get(item), runtime);
  }
  return total;
}

function join(value: Value, call: CallArguments, runtime: Runtime): Value {
  const [separator = "", attribute] = bind(call, "join", ["d", "attribute"]);
  const get = attributeGetter(attribute, runtime);
  const mark = textOf(separator, runtime.budget);
  const parts: string[] = [];
  let length = 0;
  for (const item of each(value, runtime)) {
    const text = textOf(get(item), runtime.budget);
    parts.push(text);
    length += text.length + mark.length;
    runtime.budget.text(length);
  }
  return parts.join(mark);
}

function last(value: Value, call: CallArguments, runtime: Runtime): Value {
  bind(call, "last", []);
  if (value instanceof Lazy || iteratorOrUndefined(value) === undefined) {
    throw typeError(`'${typeNameOf(value)}' object is not reversible`);
  }
  const item = listOf(value, runtime).at(-1);
  return item === undefined ? new Undefined("No last item, sequence was empty.", runtime.strictUndefined) : item;
}

function reverse(value: Value, call: CallArguments, runtime: Runtime): Value {
  bind(call, "reverse", []);
  if (typeof value === "string") {
    runtime.budget.text(value.length);
    return codePoints(value).reverse().join("");
  }
  if (iteratorOrUndefined(value) === undefined) {
    throw filterArgumentError("argument must be iterable");
  }
  const items = listOf(value, runtime).reverse();
  const isReversible =
    Array.isArray(value) ||
    value instanceof Tuple ||
    value instanceof Dict ||
    value instanceof DictView ||
    value instanceof Undefined ||
    value instanceof RangeValue;
  return isReversible ? new Lazy(items.values(), Array.isArray(value) ? "list_reverseiterator" : "reversed") : items;
}

function attr(value: Value, call: CallArguments, runtime: Runtime): Value {
  const [name] = bind(call, "attr", ["name"], 1);
  const text = textArgument(name, "attribute name");
  const found = getAttribute(value, text, runtime);
  // Only attributes count here, not the keys that `value.name` falls back to.
  return value instanceof Dict && value.has(text) && found === value.get(text)
    ? new Undefined(`'dict object' has no attribute '${text}'`, runtime.strictUndefined)
    : found;
}

const lazily =
  (generate: (value: Value, call: CallArguments, runtime: Runtime) => Iterator<Value>): Filter =>
  (value, call, runtime) =>
    generator(generate(value, call, runtime));

const defaulting: Filter = (value, call) => {
  const [otherwise = "", boolean = false] = bind(call, "default", ["default_value", "boolean"]);
  return value instanceof Undefined || (isTrue(boolean) && !isTrue(value)) ? otherwise : value;
};

export const SEQUENCE_FILTERS: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ["select", selecting("select", true, false)],
  ["reject", selecting("reject", false, false)],
  ["selectattr", selecting("selectattr", true, true)],
  ["rejectattr", selecting("rejectattr", false, true)],
  ["map", lazily(mapped)],
  ["unique", lazily(unique)],
  ["batch", lazily(batches)],
  ["slice", lazily(slices)],
  [
    "items",
    lazily((value) =>
      value instanceof Undefined && !value.strict ? [].values() : dictOf(value, "items").items().values(),
    ),
  ],
  ["sort", sort],
  ["dictsort", dictsort],
  ["min", extreme("min")],
  ["max", extreme("max")],
  ["groupby", groupby],
  ["sum", sum],
  ["join", join],
  ["last", last],
  ["reverse", reverse],
  ["attr", attr],
  ["default", defaulting],
  ["d", defaulting],
  [
    "list",
    (value, call, runtime) => {
      bind(call, "list", []);
      return listOf(value, runtime);
    },
  ],
  [
    "first",
    (value, call, runtime) => {
      bind(call, "first", []);
      const next = iteratorOf(value).next();
      return next.done === true
        ? new Undefined("No first item, sequence was empty.", runtime.strictUndefined)
        : next.value;
    },
  ],
]);
