/** Functions that every template of the Transformers environment sees. */
import { bind, textArgument } from "./call-arguments.ts";
import { JinjaError } from "./errors.ts";
import { each, indexOf } from "./sequences.ts";
import { strftime } from "./strftime.ts";
import { textOf } from "./text.ts";
import {
  Callable,
  Dict,
  Namespace,
  RangeValue,
  typeError,
  Undefined,
  type CallArguments,
  type Runtime,
  type Value,
} from "./values.ts";

/** Longest range that the sandbox allows. */
const LONGEST_RANGE = 100_000n;

function range({ positional, keyword }: CallArguments): Value {
  if (keyword.size > 0) {
    throw typeError("range() takes no keyword arguments");
  }
  if (positional.length === 0 || positional.length > 3) {
    throw typeError(
      `range expected at ${positional.length === 0 ? "least 1" : "most 3"} argument${positional.length === 0 ? "" : "s"}, got ${positional.length}`,
    );
  }
  const [first = 0n, second, third = 1n] = positional.map(indexOf);
  const [start, stop] = second === undefined ? [0n, first] : [first, second];
  if (third === 0n) {
    throw new JinjaError("ValueError", "range() arg 3 must not be zero");
  }
  const span = third > 0n ? stop - start : start - stop;
  const stride = third > 0n ? third : -third;
  const length = span <= 0n ? 0n : (span + stride - 1n) / stride;
  if (length > LONGEST_RANGE) {
    throw new JinjaError(
      "OverflowError",
      `Range too big. The sandbox blocks ranges larger than MAX_RANGE (${LONGEST_RANGE}).`,
    );
  }
  return new RangeValue(start, stop, third, Number(length));
}

/** Pairs of `dict(...)` and `namespace(...)`: a mapping or pairs, then keywords. */
function* pairs(name: string, call: CallArguments, runtime: Runtime): Generator<readonly [Value, Value]> {
  const [source, ...more] = call.positional;
  if (more.length > 0) {
    throw typeError(`${name} expected at most 1 argument, got ${call.positional.length}`);
  }
  if (source instanceof Undefined) {
    source.fail();
  }
  if (source instanceof Dict) {
    yield* source.entries();
  } else if (source !== undefined) {
    for (const pair of each(source, runtime)) {
      const [key = null, value = null, ...rest] = Array.from(each(pair, runtime));
      if (rest.length > 0) {
        throw new JinjaError("ValueError", `${name} takes pairs of a key and a value`);
      }
      yield [key, value];
    }
  }
  yield* call.keyword;
}

function dict(call: CallArguments, runtime: Runtime): Value {
  const result = new Dict();
  for (const [key, value] of pairs("dict", call, runtime)) {
    result.set(key, value);
  }
  return result;
}

function namespace(call: CallArguments, runtime: Runtime): Value {
  const result = new Namespace();
  for (const [key, value] of pairs("namespace", call, runtime)) {
    result.set(textArgument(key, "namespace attribute name"), value);
  }
  return result;
}

function joiner(call: CallArguments): Value {
  const [separator = ", "] = bind(call, "joiner", ["sep"]);
  let used = false;
  return new Callable("joiner", () => {
    const text = used ? separator : "";
    used = true;
    return text;
  });
}

/** An object with `current`, `next()` and `reset()`. */
function cycler({ positional }: CallArguments): Value {
  if (positional.length === 0) {
    throw typeError("at least one item has to be provided");
  }
  let at = 0;
  const attributes = new Map<string, Value>();
  const show = (): Value => {
    const current = positional[at] ?? null;
    attributes.set("current", current);
    return current;
  };
  attributes.set(
    "next",
    new Callable("next", () => {
      const current = show();
      at = (at + 1) % positional.length;
      show();
      return current;
    }),
  );
  attributes.set(
    "reset",
    new Callable("reset", () => {
      at = 0;
      show();
      return null;
    }),
  );
  show();
  return new Callable(
    "cycler",
    () => {
      throw typeError("'Cycler' object is not callable");
    },
    "Cycler",
    attributes,
  );
}

function raiseException(call: CallArguments, runtime: Runtime): never {
  const [message = null] = bind(call, "raise_exception", ["message"], 1);
  throw new JinjaError("TemplateError", textOf(message, runtime.budget));
}

/** `dict.fromkeys`. */
const FROM_KEYS: ReadonlyMap<string, Value> = new Map<string, Value>([
  [
    "fromkeys",
    new Callable("fromkeys", (call, runtime) => {
      const [keys = null, value = null] = bind(call, "fromkeys", ["iterable", "value"], 1);
      const result = new Dict();
      for (const key of each(keys, runtime)) {
        result.set(key, value);
      }
      return result;
    }),
  ],
]);

export const GLOBALS: ReadonlyMap<string, Value> = new Map<string, Value>(
  (
    [
      ["range", range],
      ["dict", dict],
      ["namespace", namespace],
      ["joiner", joiner],
      ["cycler", cycler],
      ["raise_exception", raiseException],
      [
        "strftime_now",
        (call: CallArguments, runtime: Runtime): Value =>
          strftime(runtime.now(), textArgument(bind(call, "strftime_now", ["format"], 1)[0], "format")),
      ],
    ] as const
  ).map(([name, call]) => [name, new Callable(name, call, "function", name === "dict" ? FROM_KEYS : undefined)]),
);
