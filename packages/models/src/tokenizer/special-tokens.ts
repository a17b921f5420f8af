/** Special tokens as the configuration files of a checkpoint give them, in the order of precedence of Transformers 5. */
import { countAt, booleanAt, isObject, listAt, objectAt, Place, textAt, type JsonObject } from "./definition/place.ts";
import {
  ADDED_TOKENS_FILE,
  CONFIG_FILE,
  objectOfFile,
  pathOf,
  SPECIAL_TOKENS_FILE,
  type TokenizerFiles,
} from "./files.ts";

/** A token that is matched in the text before the model sees it. */
export interface AddedToken {
  readonly content: string;
  /** Match it only where no word character stands beside it. */
  readonly singleWord: boolean;
  /** Take the white space on its left side with it. */
  readonly lstrip: boolean;
  /** Take the white space on its right side with it. */
  readonly rstrip: boolean;
  /** Match it in the normalized text. */
  readonly normalized: boolean;
  /** Left out by `decode` with `skipSpecialTokens`. */
  readonly special: boolean;
}

export const SPECIAL_TOKEN_NAMES = [
  "bos_token",
  "eos_token",
  "unk_token",
  "sep_token",
  "pad_token",
  "cls_token",
  "mask_token",
] as const;

export type SpecialTokenName = (typeof SPECIAL_TOKEN_NAMES)[number];

export interface DeclaredTokens {
  /** Named tokens, those of the model alone (`image_token`) included, in the order of `SPECIAL_TOKEN_NAMES` and then of the file. */
  readonly named: ReadonlyMap<string, AddedToken>;
  /** Further special tokens without names. */
  readonly extra: readonly AddedToken[];
  /** Added tokens of the configuration with their ids, ascending. */
  readonly added: readonly { readonly id: number; readonly token: AddedToken; readonly place: Place }[];
}

/** A special token given as a string: never normalized, no white space taken. */
export function specialToken(content: string): AddedToken {
  return { content, singleWord: false, lstrip: false, rstrip: false, normalized: false, special: true };
}

export function readDeclaredTokens(files: TokenizerFiles, config: JsonObject): DeclaredTokens {
  const place = new Place(pathOf(files, CONFIG_FILE));
  const added = new Map<number, { id: number; token: AddedToken; place: Place }>();
  const byContent = new Map<string, AddedToken>();
  const add = (id: number, token: AddedToken, at: Place): void => {
    added.set(id, { id, token, place: at });
    byContent.set(token.content, token);
  };
  let declared: JsonObject = config;
  if (isPresent(config["added_tokens_decoder"])) {
    const at = place.at("added_tokens_decoder");
    for (const [id, token] of Object.entries(objectAt(config["added_tokens_decoder"], at))) {
      add(countAt(/^\d+$/.test(id) ? Number(id) : id, at.at(id)), readToken(token, at.at(id)), at.at(id));
    }
  } else {
    // Older checkpoints: special_tokens_map.json goes before the configuration, added_tokens.json gives the ids.
    declared = { ...config, ...objectOfFile(files, SPECIAL_TOKENS_FILE) };
  }
  const { named, extra } = readSpecialTokens(declared, place, byContent);
  if (!isPresent(config["added_tokens_decoder"])) {
    const special = new Set([...named.values(), ...extra].map((token) => token.content));
    const at = new Place(pathOf(files, ADDED_TOKENS_FILE));
    for (const [content, id] of Object.entries(objectOfFile(files, ADDED_TOKENS_FILE))) {
      const isSpecial = special.has(content);
      add(
        countAt(id, at.at(content)),
        { ...specialToken(content), normalized: !isSpecial, special: isSpecial },
        at.at(content),
      );
    }
  }
  return { named, extra, added: [...added.values()].sort((a, b) => a.id - b.id) };
}

function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function readSpecialTokens(
  declared: JsonObject,
  place: Place,
  byContent: ReadonlyMap<string, AddedToken>,
): { named: Map<string, AddedToken>; extra: AddedToken[] } {
  const named = new Map<string, AddedToken>();
  const read = (value: unknown, at: Place): AddedToken => {
    const token = typeof value === "string" ? specialToken(textAt(value, at)) : readToken(value, at);
    return byContent.get(token.content) ?? token;
  };
  for (const name of SPECIAL_TOKEN_NAMES) {
    if (isPresent(declared[name])) {
      named.set(name, read(declared[name], place.at(name)));
    }
  }
  for (const [name, token] of Object.entries(declared)) {
    const isToken = typeof token === "string" || (isObject(token) && token["__type"] === "AddedToken");
    if (name.endsWith("_token") && !named.has(name) && isToken) {
      named.set(name, read(token, place.at(name)));
    }
  }
  const key = isPresent(declared["extra_special_tokens"]) ? "extra_special_tokens" : "additional_special_tokens";
  const value = declared[key];
  const at = place.at(key);
  const extra: AddedToken[] = [];
  if (isObject(value)) {
    for (const [name, token] of Object.entries(value)) {
      named.set(name, read(token, at.at(name)));
    }
  } else if (isPresent(value)) {
    extra.push(...listAt(value, at).map((token, index) => read(token, at.at(index))));
  }
  return { named, extra };
}

/** An added token written as an object; absent flags are false, `normalized` the opposite of `special`. */
export function readToken(value: unknown, place: Place): AddedToken {
  const token = objectAt(value, place);
  const content = textAt(token["content"], place.at("content"));
  if (content === "") {
    place.at("content").expected("a token", content);
  }
  const flag = (name: string, otherwise: boolean): boolean => {
    const given = token[name];
    return given === undefined ? otherwise : booleanAt(given, place.at(name));
  };
  const special = flag("special", false);
  return {
    content,
    singleWord: flag("single_word", false),
    lstrip: flag("lstrip", false),
    rstrip: flag("rstrip", false),
    normalized: flag("normalized", !special),
    special,
  };
}
