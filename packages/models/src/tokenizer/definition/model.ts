/** The model part of a `tokenizer.json`: vocabulary, merges and options, checked as far as the native library relies on them. */
import {
  booleanAt,
  countAt,
  describeFound,
  listAt,
  objectAt,
  optional,
  textAt,
  type JsonObject,
  type Place,
} from "./place.ts";

export type ModelType = "BPE" | "Unigram" | "WordPiece" | "WordLevel";

export interface CheckedModel {
  readonly type: ModelType;
  /** The model with its type, as it goes to the library. */
  readonly json: JsonObject;
  /** Tokens of the model itself, without the added ones. */
  readonly size: number;
}

const TYPES: readonly ModelType[] = ["BPE", "Unigram", "WordPiece", "WordLevel"];

const maybeText = optional(textAt);
const maybeBoolean = optional(booleanAt);

export function checkModel(value: unknown, place: Place): CheckedModel {
  const model = objectAt(value, place);
  const type = typeOf(model, place);
  const vocabulary = place.at("vocab");
  let size: number;
  if (type === "Unigram") {
    size = checkScoredVocabulary(model, vocabulary, place);
  } else {
    const tokens = checkVocabulary(model["vocab"], vocabulary);
    size = tokens.size;
    if (type === "BPE") {
      checkBpe(model, tokens, place);
    } else {
      textAt(model["unk_token"], place.at("unk_token"));
      if (type === "WordPiece") {
        textAt(model["continuing_subword_prefix"], place.at("continuing_subword_prefix"));
        countAt(model["max_input_chars_per_word"], place.at("max_input_chars_per_word"));
      }
    }
  }
  return { type, json: { ...model, type }, size };
}

/** Old files have no type; the fields tell. */
function typeOf(model: JsonObject, place: Place): ModelType {
  const given = model["type"];
  if (given === undefined) {
    return Array.isArray(model["vocab"])
      ? "Unigram"
      : "merges" in model
        ? "BPE"
        : "max_input_chars_per_word" in model
          ? "WordPiece"
          : "WordLevel";
  }
  return TYPES.find((type) => type === given) ?? place.at("type").expected(`one of ${TYPES.join(", ")}`, given);
}

function checkVocabulary(value: unknown, place: Place): ReadonlySet<string> {
  const vocabulary = objectAt(value, place);
  const owners = new Map<number, string>();
  for (const [token, id] of Object.entries(vocabulary)) {
    if (!token.isWellFormed()) {
      textAt(token, place.at(JSON.stringify(token)));
    }
    const number = countAt(id, place.at(token));
    const other = owners.get(number);
    if (other !== undefined) {
      place.at(token).fail(`id ${number} is also that of ${JSON.stringify(other)}`);
    }
    owners.set(number, token);
  }
  if (owners.size === 0) {
    place.fail("the vocabulary is empty");
  }
  return new Set(owners.values());
}

function checkBpe(model: JsonObject, tokens: ReadonlySet<string>, place: Place): void {
  maybeText(model["unk_token"], place.at("unk_token"));
  maybeText(model["end_of_word_suffix"], place.at("end_of_word_suffix"));
  const prefix = maybeText(model["continuing_subword_prefix"], place.at("continuing_subword_prefix")) ?? "";
  for (const name of ["fuse_unk", "byte_fallback", "ignore_merges"]) {
    maybeBoolean(model[name], place.at(name));
  }
  const dropout = model["dropout"];
  if (dropout !== undefined && dropout !== null && !(typeof dropout === "number" && dropout >= 0 && dropout <= 1)) {
    place.at("dropout").expected("a number from 0 to 1 or null", dropout);
  }
  // The library joins both halves in a buffer as long as the longest token, without a look at the bounds.
  const merges = listAt(model["merges"], place.at("merges"));
  merges.forEach((merge, index) => {
    const at = (): Place => place.at("merges").at(index);
    const [left, right] = mergeOf(merge, at);
    if (typeof merge !== typeof merges[0]) {
      at().fail("pairs and strings cannot stand in one list");
    }
    for (const half of [left, right]) {
      if (!tokens.has(half)) {
        at().fail(`${JSON.stringify(half)} is not in the vocabulary`);
      }
    }
    if (!right.startsWith(prefix)) {
      at().fail(`${JSON.stringify(right)} does not start with the continuing_subword_prefix ${JSON.stringify(prefix)}`);
    }
    const merged = left + right.slice(prefix.length);
    if (!tokens.has(merged)) {
      at().fail(`the result ${JSON.stringify(merged)} is not in the vocabulary`);
    }
  });
}

/** A merge is a pair, or one string with a space between the halves. */
function mergeOf(merge: unknown, place: () => Place): readonly [string, string] {
  const parts: readonly unknown[] = typeof merge === "string" ? merge.split(" ") : Array.isArray(merge) ? merge : [];
  const [left, right, ...more] = parts;
  return typeof left === "string" && typeof right === "string" && more.length === 0
    ? [left, right]
    : place().expected("two tokens (a pair, or one string with a space between them)", merge);
}

function checkScoredVocabulary(model: JsonObject, at: Place, place: Place): number {
  const entries = listAt(model["vocab"], at);
  if (entries.length === 0) {
    at.fail("the vocabulary is empty");
  }
  const seen = new Set<string>();
  entries.forEach((entry, index) => {
    const pair: readonly unknown[] = Array.isArray(entry) ? entry : [];
    const [token, score] = pair;
    if (typeof token !== "string" || typeof score !== "number" || !Number.isFinite(score) || pair.length !== 2) {
      at.at(index).expected("a token and its score", entry);
    } else {
      textAt(token, at.at(index));
      if (seen.has(token)) {
        at.at(index).fail(`the token ${describeFound(token)} is there twice`);
      }
      seen.add(token);
    }
  });
  const unknown = model["unk_id"];
  if (unknown !== undefined && unknown !== null) {
    countAt(unknown, place.at("unk_id"), 0, entries.length - 1);
  }
  maybeBoolean(model["byte_fallback"], place.at("byte_fallback"));
  return entries.length;
}
