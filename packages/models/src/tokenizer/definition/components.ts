/**
 * Normalizers, pre-tokenizers, post-processors and decoders of a `tokenizer.json`. The native library stops the whole process
 * on some malformed ones (an unwrap in the wrong place), so each is checked here before the library sees it.
 */
import { checkCharsmap } from "./charsmap.ts";
import { smallestMatch } from "./pattern-width.ts";
import {
  booleanAt,
  characterAt,
  countAt,
  listAt,
  objectAt,
  optional,
  textAt,
  type JsonObject,
  type Place,
} from "./place.ts";

type Check = (value: unknown, place: Place) => unknown;
type Fields = Readonly<Record<string, Check>>;

/** A component kind: its types, and for each the fields that the library reads. */
interface Kind {
  readonly what: string;
  readonly types: Readonly<Record<string, Fields>>;
}

/** Nesting of sequences. */
const DEEPEST = 8;

const boolean: Check = booleanAt;
const text: Check = textAt;
const character: Check = characterAt;
const maybe = (check: Check): Check => optional(check);

const choice =
  (...names: string[]): Check =>
  (value, place) => {
    if (typeof value !== "string" || !names.includes(value)) {
      place.expected(`one of ${names.join(", ")}`, value);
    }
  };

function pattern(value: unknown, place: Place): void {
  const object = objectAt(value, place);
  const [key, ...more] = Object.keys(object);
  if (more.length > 0 || (key !== "String" && key !== "Regex")) {
    place.expected('{"String": …} or {"Regex": …}', value);
  }
  textAt(object[key ?? ""], place.at(key ?? ""));
}

const BYTE_LEVEL: Fields = {
  add_prefix_space: maybe(boolean),
  trim_offsets: maybe(boolean),
  use_regex: maybe(boolean),
};
const METASPACE: Fields = {
  replacement: character,
  prepend_scheme: maybe(choice("first", "never", "always")),
  split: maybe(boolean),
  add_prefix_space: maybe(boolean),
};
const REPLACE: Fields = { pattern, content: text };
const behavior = choice("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous");

function sequenceOf(kind: () => Kind, key: string): Fields {
  return {
    [key]: (value, place) => {
      listAt(value, place).forEach((item, index) => checkComponent(item, place.at(index), kind()));
    },
  };
}

/** The library loses count of its positions where something is put in front of a text without taking a character of it. */
function nonEmpty(value: unknown, place: Place): void {
  if (textAt(value, place) === "") {
    place.expected("some text", value);
  }
}

/** For the same reason a normalizer's replacement must replace something. */
function checkReplacement(component: JsonObject, place: Place): void {
  const { String: literal, Regex: expression } = objectAt(component["pattern"], place.at("pattern"));
  const width =
    typeof literal === "string" ? literal.length : typeof expression === "string" ? smallestMatch(expression) : 0;
  if (component["content"] !== "" && width === 0) {
    place.at("pattern").expected("a pattern that matches at least one character", literal ?? expression);
  }
}

export const NORMALIZERS: Kind = {
  what: "normalizer",
  types: {
    BertNormalizer: {
      clean_text: boolean,
      handle_chinese_chars: boolean,
      strip_accents: maybe(boolean),
      lowercase: boolean,
    },
    Strip: { strip_left: boolean, strip_right: boolean },
    StripAccents: {},
    NFC: {},
    NFD: {},
    NFKC: {},
    NFKD: {},
    Nmt: {},
    Lowercase: {},
    ByteLevel: {},
    Precompiled: { precompiled_charsmap: checkCharsmap },
    Replace: REPLACE,
    Prepend: { prepend: nonEmpty },
    Sequence: sequenceOf(() => NORMALIZERS, "normalizers"),
  },
};

export const PRE_TOKENIZERS: Kind = {
  what: "pre-tokenizer",
  types: {
    BertPreTokenizer: {},
    ByteLevel: BYTE_LEVEL,
    CharDelimiterSplit: { delimiter: character },
    Metaspace: METASPACE,
    Whitespace: {},
    WhitespaceSplit: {},
    Split: { pattern, behavior, invert: boolean },
    Punctuation: { behavior: maybe(behavior) },
    Digits: { individual_digits: boolean },
    UnicodeScripts: {},
    FixedLength: { length: maybe((value, place) => countAt(value, place, 1)) },
    Sequence: sequenceOf(() => PRE_TOKENIZERS, "pretokenizers"),
  },
};

function tokenAndId(value: unknown, place: Place): void {
  const [token, id, ...more] = listAt(value, place);
  if (more.length > 0) {
    place.expected("a token and its id", value);
  }
  textAt(token, place.at(0));
  countAt(id, place.at(1));
}

export const POST_PROCESSORS: Kind = {
  what: "post-processor",
  types: {
    BertProcessing: { sep: tokenAndId, cls: tokenAndId },
    RobertaProcessing: { sep: tokenAndId, cls: tokenAndId, trim_offsets: boolean, add_prefix_space: boolean },
    ByteLevel: BYTE_LEVEL,
    TemplateProcessing: { single: listAt, pair: listAt, special_tokens: objectAt },
    Sequence: sequenceOf(() => POST_PROCESSORS, "processors"),
  },
};

/** A Strip decoder that takes from the end of a token shorter than that stops the library. */
function noStop(value: unknown, place: Place): void {
  if (countAt(value, place) !== 0) {
    place.fail("the native library cannot strip from the end of tokens safely; only 0 is supported");
  }
}

export const DECODERS: Kind = {
  what: "decoder",
  types: {
    BPEDecoder: { suffix: text },
    ByteLevel: BYTE_LEVEL,
    WordPiece: { prefix: text, cleanup: boolean },
    Metaspace: METASPACE,
    CTC: { pad_token: text, word_delimiter_token: text, cleanup: boolean },
    Replace: REPLACE,
    Fuse: {},
    Strip: { content: character, start: countAt, stop: noStop },
    ByteFallback: {},
    Sequence: sequenceOf(() => DECODERS, "decoders"),
  },
};

/** Checks a component, null or absent being none; returns it. @throws TokenizerError naming the key. */
export function checkComponent(value: unknown, place: Place, kind: Kind): JsonObject {
  if (place.path.split(".").length > DEEPEST) {
    place.fail(`sequences nest deeper than ${DEEPEST} levels`);
  }
  const component = objectAt(value, place);
  const type = component["type"];
  const fields = typeof type === "string" && Object.hasOwn(kind.types, type) ? kind.types[type] : undefined;
  if (fields === undefined) {
    return place.at("type").expected(`a ${kind.what} (${Object.keys(kind.types).join(", ")})`, type);
  }
  for (const [name, check] of Object.entries(fields)) {
    check(component[name], place.at(name));
  }
  for (const name of Object.keys(component)) {
    if (!Object.hasOwn(fields, name)) {
      scalar(component[name], place.at(name));
    }
  }
  if (type === "TemplateProcessing") {
    checkTemplates(component, place);
  } else if (type === "Replace" && kind === NORMALIZERS) {
    checkReplacement(component, place);
  }
  return component;
}

/** A field that the library ignores, as old files have them. */
function scalar(value: unknown, place: Place): void {
  if (typeof value === "object" && value !== null) {
    place.expected("no such field, or a plain value", value);
  }
  if (typeof value === "string") {
    textAt(value, place);
  }
}

/** Every special token of both templates is described, and every piece is one that the library can place. */
function checkTemplates(component: JsonObject, place: Place): void {
  const special = objectAt(component["special_tokens"], place.at("special_tokens"));
  for (const [name, entry] of Object.entries(special)) {
    const at = place.at("special_tokens").at(name);
    textAt(name, at);
    const token = objectAt(entry, at);
    textAt(token["id"], at.at("id"));
    const ids = listAt(token["ids"], at.at("ids")).map((id, index) => countAt(id, at.at("ids").at(index)));
    const tokens = listAt(token["tokens"], at.at("tokens")).map((each, index) =>
      textAt(each, at.at("tokens").at(index)),
    );
    if (ids.length !== tokens.length) {
      at.fail(`${ids.length} ids for ${tokens.length} tokens`);
    }
  }
  for (const [name, sequences] of [
    ["single", ["A"]],
    ["pair", ["A", "B"]],
  ] as const) {
    const at = place.at(name);
    const found = listAt(component[name], at).map((piece, index) =>
      checkPiece(piece, at.at(index), special, sequences),
    );
    for (const sequence of sequences) {
      if (found.filter((id) => id === sequence).length !== 1) {
        at.fail(`sequence ${sequence} must stand in the template once`);
      }
    }
  }
}

function checkPiece(
  value: unknown,
  place: Place,
  special: JsonObject,
  sequences: readonly string[],
): string | undefined {
  const piece = objectAt(value, place);
  const [key = "", ...more] = Object.keys(piece);
  if (more.length > 0 || (key !== "Sequence" && key !== "SpecialToken")) {
    return place.expected('{"Sequence": …} or {"SpecialToken": …}', value);
  }
  const at = place.at(key);
  const body = objectAt(piece[key], at);
  countAt(body["type_id"], at.at("type_id"));
  const id = textAt(body["id"], at.at("id"));
  if (key === "Sequence") {
    return sequences.includes(id) ? id : at.at("id").expected(`one of ${sequences.join(", ")}`, id);
  }
  if (!Object.hasOwn(special, id)) {
    at.at("id").fail(`the special token ${JSON.stringify(id)} is not in special_tokens`);
  }
  return undefined;
}

/** Components with a type, nested sequences opened. */
export function flattened(component: JsonObject | undefined, listKey: string): readonly JsonObject[] {
  if (component === undefined) {
    return [];
  }
  const list = component[listKey];
  return component["type"] === "Sequence" && Array.isArray(list)
    ? list.flatMap((item: JsonObject) => flattened(item, listKey))
    : [component];
}
