import { Backend } from "./backend.ts";
import { readChatTemplates } from "./chat-template.ts";
import { readDefinition, type TokenizerDefinition } from "./definition/definition.ts";
import { booleanAt, isObject, optional, Place, textAt, type JsonObject } from "./definition/place.ts";
import {
  CONFIG_FILE,
  objectOfFile,
  pathOf,
  readTokenizerFiles,
  textOfFile,
  TOKENIZER_FILE,
  type TokenizerFiles,
} from "./files.ts";
import { boundaryTokens } from "./post-processor.ts";
import type { Side } from "./encoding.ts";
import { PreTrainedTokenizer } from "./pretrained-tokenizer.ts";
import { readDeclaredTokens, specialToken, type AddedToken, type DeclaredTokens } from "./special-tokens.ts";

export interface TokenizerLoadOptions {
  /** Put the beginning token first, or leave it out; replaces the post-processor of tokenizer.json. */
  readonly addBosToken?: boolean;
  /** Put the end token last, or leave it out; replaces the post-processor of tokenizer.json. */
  readonly addEosToken?: boolean;
  readonly modelMaxLength?: number;
  readonly paddingSide?: Side;
  readonly truncationSide?: Side;
}

/** Largest `model_max_length` that means anything; files without a limit hold 10^30. */
const LONGEST = 1e15;

/** Loads tokenizers of Hugging Face checkpoints. */
export const AutoTokenizer = {
  /**
   * Loads the tokenizer of a directory: `tokenizer.json` (required), `tokenizer_config.json`, `special_tokens_map.json` and
   * `added_tokens.json` of older checkpoints, `chat_template.jinja` and `additional_chat_templates/*.jinja`. As in Transformers 5,
   * tokenizer.json decides which special tokens are added, not `add_bos_token` of the configuration.
   *
   * @throws TokenizerError for files that are missing or malformed, naming the file and the key.
   */
  async fromPretrained(directory: string, options: TokenizerLoadOptions = {}): Promise<PreTrainedTokenizer> {
    return buildTokenizer(await readTokenizerFiles(directory), options);
  },
};

/** Builds a tokenizer from files that have been read. */
export function buildTokenizer(files: TokenizerFiles, options: TokenizerLoadOptions = {}): PreTrainedTokenizer {
  const definition = readDefinition(textOfFile(files, TOKENIZER_FILE) ?? "", pathOf(files, TOKENIZER_FILE));
  const config = objectOfFile(files, CONFIG_FILE);
  const place = new Place(pathOf(files, CONFIG_FILE));
  const declared = withPaddingToken(readDeclaredTokens(files, config), definition);
  const backend = new Backend(definition);
  const warnings = addDeclaredTokens(backend, declared);

  const named = new Map([...declared.named].map(([name, token]) => [name, token.content]));
  const boundary = boundaryTokens(definition);
  const begins = named.has("bos_token") && boundary.before[0] === named.get("bos_token");
  const ends = named.has("eos_token") && boundary.after.at(-1) === named.get("eos_token");
  warnings.push(...ignoredSettings(config, place, { add_bos_token: begins, add_eos_token: ends }, options));

  const cleansUp =
    optional(booleanAt)(config["clean_up_tokenization_spaces"], place.at("clean_up_tokenization_spaces")) ?? false;
  const forced = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output";
  const tokenizer = new PreTrainedTokenizer({
    files,
    backend,
    named,
    extra: declared.extra.map((token) => token.content),
    templates: readChatTemplates(files, config),
    modelMaxLength: options.modelMaxLength ?? maxLength(config, place),
    paddingSide:
      options.paddingSide ?? side(config["padding_side"], directionOf(definition, "padding"), place.at("padding_side")),
    truncationSide:
      options.truncationSide ??
      side(config["truncation_side"], directionOf(definition, "truncation"), place.at("truncation_side")),
    cleanUpTokenizationSpaces: cleansUp,
    cleansBpe: optional(booleanAt)(config[forced], place.at(forced)) ?? false,
    addBosToken: begins,
    addEosToken: ends,
    warnings,
  });
  if (options.addBosToken !== undefined || options.addEosToken !== undefined) {
    tokenizer.setBoundaryTokens(options.addBosToken ?? begins, options.addEosToken ?? ends);
  }
  return tokenizer;
}

/** A padding token that only tokenizer.json names, in its padding settings. */
function withPaddingToken(declared: DeclaredTokens, definition: TokenizerDefinition): DeclaredTokens {
  const padding = definition.json["padding"];
  if (declared.named.has("pad_token") || !isObject(padding)) {
    return declared;
  }
  const content = textAt(padding["pad_token"], new Place(definition.file).at("padding").at("pad_token"));
  return content === ""
    ? declared
    : { ...declared, named: new Map([...declared.named, ["pad_token", specialToken(content)]]) };
}

/** Adds what the configuration has beyond tokenizer.json. Returns what is worth telling. */
function addDeclaredTokens(backend: Backend, declared: DeclaredTokens): string[] {
  const present = new Map(backend.addedTokens.map((token) => [token.content, token]));
  const differs = (token: AddedToken): boolean => {
    const there = present.get(token.content);
    return (
      there === undefined ||
      there.single_word !== token.singleWord ||
      there.lstrip !== token.lstrip ||
      there.rstrip !== token.rstrip ||
      there.normalized !== token.normalized ||
      there.special !== token.special
    );
  };
  const special = [...declared.named.values(), ...declared.extra];
  const specialContents = new Set([...declared.named.values()].map((token) => token.content));
  const tokens = new Map<string, AddedToken>();
  for (const { token } of declared.added) {
    if (differs(token)) {
      tokens.set(token.content, specialContents.has(token.content) ? { ...token, special: true } : token);
    }
  }
  for (const token of special) {
    // An empty name stands for no token, but templates see it.
    if (token.content !== "" && !present.has(token.content) && !tokens.has(token.content)) {
      tokens.set(token.content, { ...token, special: true });
    }
  }
  const before = backend.size;
  const fresh = [...tokens.keys()].filter((content) => backend.tokenToId(content) === undefined);
  if (tokens.size > 0) {
    backend.add([...tokens.values()]);
  }
  for (const { id, token, place } of declared.added) {
    const given = backend.tokenToId(token.content);
    if (given !== id) {
      place.fail(
        `the token ${JSON.stringify(token.content)} gets the id ${String(given)} from its place in the vocabulary, not ${id}`,
      );
    }
  }
  return fresh.length === 0
    ? []
    : [
        `${backend.definition.file} has ${before} tokens; the configuration adds ${fresh.map((token) => JSON.stringify(token)).join(", ")}: the embeddings need ${backend.size} rows`,
      ];
}

/** Settings of the configuration that tokenizer.json contradicts. */
function ignoredSettings(
  config: JsonObject,
  place: Place,
  actual: Readonly<Record<string, boolean>>,
  options: TokenizerLoadOptions,
): string[] {
  return Object.entries(actual).flatMap(([key, holds]) => {
    const wanted = optional(booleanAt)(config[key], place.at(key));
    const option = key === "add_bos_token" ? "addBosToken" : "addEosToken";
    return wanted === undefined || wanted === holds || options[option] !== undefined
      ? []
      : [
          `${place.file}, ${key}: ${wanted} has no effect, tokenizer.json's post-processor decides (${holds}); give ${option} when loading to change that`,
        ];
  });
}

function maxLength(config: JsonObject, place: Place): number {
  const value = config["model_max_length"] ?? config["max_len"];
  if (value === undefined || value === null) {
    return Number.POSITIVE_INFINITY;
  }
  if (typeof value !== "number" || !(value > 0)) {
    return place.at("model_max_length").expected("a positive number", value);
  }
  return value >= LONGEST ? Number.POSITIVE_INFINITY : value;
}

function directionOf(definition: TokenizerDefinition, key: "padding" | "truncation"): unknown {
  const settings = definition.json[key];
  return isObject(settings) ? settings["direction"] : undefined;
}

function side(value: unknown, otherwise: unknown, place: Place): Side {
  const given = value ?? (typeof otherwise === "string" ? otherwise.toLowerCase() : undefined) ?? "right";
  return given === "left" || given === "right" ? given : place.expected('"left" or "right"', given);
}
