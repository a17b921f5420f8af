/** Methods of strings that templates may call. */
import { JinjaError } from "./errors.ts";
import { bind, textArgument } from "./call-arguments.ts";
import { countOf, each } from "./sequences.ts";
import {
  capitalize,
  CHARACTER_TESTS,
  codePointLength,
  codePoints,
  hasSurrogates,
  splitLines,
  splitWhitespace,
  splitWhitespaceRight,
  strip,
  swapCase,
  titleWords,
  type Side,
} from "./strings.ts";
import { isTrue } from "./sequences.ts";
import { Tuple, typeError, typeNameOf, type CallArguments, type Runtime, type Value } from "./values.ts";

export type Method<T> = (self: T, call: CallArguments, runtime: Runtime) => Value;

const stripping =
  (name: string, side: Side): Method<string> =>
  (self, call) => {
    const [characters = null] = bind(call, name, ["chars"]);
    return strip(self, characters === null ? undefined : textArgument(characters, `${name} arg`), side);
  };

const plain =
  (name: string, change: (text: string) => Value): Method<string> =>
  (self, call) => {
    bind(call, name, []);
    return change(self);
  };

/** The part of a text between two optional bounds in code points, and where it starts. */
function part(self: string, start: Value | undefined, end: Value | undefined): [readonly string[], number] {
  const points = codePoints(self);
  const bound = (value: Value | undefined, otherwise: number): number => {
    if (value === undefined || value === null) {
      return otherwise;
    }
    const at = countOf(value);
    return Math.max(0, Math.min(points.length, at < 0 ? at + points.length : at));
  };
  const from = bound(start, 0);
  return [points.slice(from, bound(end, points.length)), from];
}

const affix =
  (name: "startswith" | "endswith"): Method<string> =>
  (self, call) => {
    const [wanted = null, start, end] = bind(call, name, ["prefix", "start", "end"], 1);
    const text = start === undefined && end === undefined ? self : part(self, start, end)[0].join("");
    const candidates = wanted instanceof Tuple ? wanted.items : [wanted];
    return candidates.some((candidate) => {
      if (typeof candidate !== "string") {
        throw typeError(`${name} first arg must be str or a tuple of str, not ${typeNameOf(candidate)}`);
      }
      return name === "startswith" ? text.startsWith(candidate) : text.endsWith(candidate);
    });
  };

/** `find`, `index` and their kin from the right, in code points. */
const finding =
  (name: string, fromRight: boolean, raises: boolean): Method<string> =>
  (self, call) => {
    const [sub, start, end] = bind(call, name, ["sub", "start", "end"], 1);
    const wanted = textArgument(sub, "argument");
    const [points, from] = part(self, start, end);
    const text = points.join("");
    const at = fromRight ? text.lastIndexOf(wanted) : text.indexOf(wanted);
    if (at === -1 && raises) {
      throw new JinjaError("ValueError", "substring not found");
    }
    return BigInt(at === -1 ? -1 : from + codePointLength(text.slice(0, at)));
  };

const splitting =
  (name: "split" | "rsplit"): Method<string> =>
  (self, call, runtime) => {
    const [separator = null, limit = -1n] = bind(call, name, ["sep", "maxsplit"]);
    const most = countOf(limit);
    if (separator === null) {
      return name === "split" ? splitWhitespace(self, most) : splitWhitespaceRight(self, most);
    }
    const mark = textArgument(separator, "sep");
    if (mark === "") {
      throw new JinjaError("ValueError", "empty separator");
    }
    const parts = self.split(mark);
    runtime.budget.list(parts.length);
    if (most < 0 || parts.length <= most + 1) {
      return parts;
    }
    return name === "split"
      ? [...parts.slice(0, most), parts.slice(most).join(mark)]
      : [parts.slice(0, parts.length - most).join(mark), ...parts.slice(parts.length - most)];
  };

const partition =
  (name: "partition" | "rpartition"): Method<string> =>
  (self, call) => {
    const [separator] = bind(call, name, ["sep"], 1);
    const mark = textArgument(separator, "sep");
    if (mark === "") {
      throw new JinjaError("ValueError", "empty separator");
    }
    const at = name === "partition" ? self.indexOf(mark) : self.lastIndexOf(mark);
    if (at === -1) {
      return new Tuple(name === "partition" ? [self, "", ""] : ["", "", self]);
    }
    return new Tuple([self.slice(0, at), mark, self.slice(at + mark.length)]);
  };

function padding(name: string, call: CallArguments, length: number, runtime: Runtime): [number, string] {
  const [width = 0n, fill] = bind(call, name, ["width", "fillchar"], 1);
  const character = textArgument(fill, "The fill character", " ");
  if (codePointLength(character) !== 1) {
    throw typeError("The fill character must be exactly one character long");
  }
  const missing = Math.max(0, countOf(width) - length);
  runtime.budget.text(missing * character.length);
  return [missing, character];
}

const justifying =
  (name: "ljust" | "rjust"): Method<string> =>
  (self, call, runtime) => {
    const [missing, fill] = padding(name, call, codePointLength(self), runtime);
    return name === "ljust" ? self + fill.repeat(missing) : fill.repeat(missing) + self;
  };

/** Centred text; an odd space goes to the left if the width is odd, as Python has it. */
export function center(self: string, width: number, fill: string): string {
  const missing = Math.max(0, width - codePointLength(self));
  const left = (missing >> 1) + (missing & width & 1);
  return fill.repeat(left) + self + fill.repeat(missing - left);
}

/** `str.replace` with a count below zero for all. */
export function replaceText(self: string, old: string, by: string, count: number, runtime: Runtime): string {
  if (old === "" ? count === 0 : count === 0 || !self.includes(old)) {
    return self;
  }
  const parts = old === "" ? ["", ...codePoints(self), ""] : self.split(old);
  const replaced = count < 0 ? parts.length - 1 : Math.min(count, parts.length - 1);
  runtime.budget.text(self.length + replaced * by.length);
  return (
    parts.slice(0, replaced + 1).join(by) +
    parts
      .slice(replaced + 1)
      .map((rest) => old + rest)
      .join("")
  );
}

function expandTabs(self: string, size: number, runtime: Runtime): string {
  let column = 0;
  let result = "";
  for (const character of codePoints(self)) {
    if (character === "\t") {
      const missing = size > 0 ? size - (column % size) : 0;
      result += " ".repeat(missing);
      column += missing;
      runtime.budget.text(result.length);
    } else {
      result += character;
      column = character === "\n" || character === "\r" ? 0 : column + 1;
    }
  }
  return result;
}

export const STRING_METHODS: ReadonlyMap<string, Method<string>> = new Map<string, Method<string>>([
  ["capitalize", plain("capitalize", capitalize)],
  ["casefold", plain("casefold", (text) => text.toLowerCase().replaceAll("ß", "ss"))],
  ["lower", plain("lower", (text) => text.toLowerCase())],
  ["upper", plain("upper", (text) => text.toUpperCase())],
  ["title", plain("title", titleWords)],
  ["swapcase", plain("swapcase", swapCase)],
  ["strip", stripping("strip", "both")],
  ["lstrip", stripping("lstrip", "left")],
  ["rstrip", stripping("rstrip", "right")],
  ["startswith", affix("startswith")],
  ["endswith", affix("endswith")],
  ["find", finding("find", false, false)],
  ["rfind", finding("rfind", true, false)],
  ["index", finding("index", false, true)],
  ["rindex", finding("rindex", true, true)],
  ["split", splitting("split")],
  ["rsplit", splitting("rsplit")],
  ["partition", partition("partition")],
  ["rpartition", partition("rpartition")],
  ["ljust", justifying("ljust")],
  ["rjust", justifying("rjust")],
  [
    "center",
    (self, call, runtime) => {
      const length = codePointLength(self);
      const [missing, fill] = padding("center", call, length, runtime);
      return missing === 0 ? self : center(self, length + missing, fill);
    },
  ],
  [
    "zfill",
    (self, call, runtime) => {
      const [width = 0n] = bind(call, "zfill", ["width"], 1);
      const missing = Math.max(0, countOf(width) - codePointLength(self));
      runtime.budget.text(missing);
      const sign = /^[-+]/.test(self) ? self.slice(0, 1) : "";
      return sign + "0".repeat(missing) + self.slice(sign.length);
    },
  ],
  [
    "count",
    (self, call, runtime) => {
      const [sub, start, end] = bind(call, "count", ["sub", "start", "end"], 1);
      const wanted = textArgument(sub, "argument");
      const points =
        start === undefined && end === undefined && !hasSurrogates(self) ? undefined : part(self, start, end)[0];
      const text = points === undefined ? self : points.join("");
      runtime.budget.text(text.length);
      return BigInt(wanted === "" ? codePointLength(text) + 1 : text.split(wanted).length - 1);
    },
  ],
  [
    "replace",
    (self, call, runtime) => {
      const [old, by, count = -1n] = bind(call, "replace", ["old", "new", "count"], 2);
      return replaceText(
        self,
        textArgument(old, "replace() argument 1"),
        textArgument(by, "replace() argument 2"),
        countOf(count),
        runtime,
      );
    },
  ],
  [
    "removeprefix",
    (self, call) => {
      const prefix = textArgument(bind(call, "removeprefix", ["prefix"], 1)[0], "removeprefix() argument");
      return self.startsWith(prefix) ? self.slice(prefix.length) : self;
    },
  ],
  [
    "removesuffix",
    (self, call) => {
      const suffix = textArgument(bind(call, "removesuffix", ["suffix"], 1)[0], "removesuffix() argument");
      return suffix !== "" && self.endsWith(suffix) ? self.slice(0, -suffix.length) : self;
    },
  ],
  [
    "splitlines",
    (self, call) => {
      const [keepEnds = false] = bind(call, "splitlines", ["keepends"]);
      return splitLines(self, isTrue(keepEnds));
    },
  ],
  [
    "expandtabs",
    (self, call, runtime) => {
      const [size = 8n] = bind(call, "expandtabs", ["tabsize"]);
      return expandTabs(self, countOf(size), runtime);
    },
  ],
  [
    "join",
    (self, call, runtime) => {
      const [iterable = null] = bind(call, "join", ["iterable"], 1);
      const parts: string[] = [];
      let length = 0;
      for (const item of each(iterable, runtime)) {
        if (typeof item !== "string") {
          throw typeError(`sequence item ${parts.length}: expected str instance, ${typeNameOf(item)} found`);
        }
        parts.push(item);
        length += item.length + self.length;
        runtime.budget.text(length);
      }
      return parts.join(self);
    },
  ],
  ...Array.from(CHARACTER_TESTS, ([name, test]): [string, Method<string>] => [name, plain(name, test)]),
]);

/** Methods of strings that exist in Python and not here: their use is told apart from a missing attribute. */
export const MISSING_STRING_METHODS: ReadonlySet<string> = new Set(["encode", "translate", "maketrans"]);
