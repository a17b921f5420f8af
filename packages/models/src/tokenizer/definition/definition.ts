/** A `tokenizer.json` that has been read and checked: the native library can be built from it without risk to the process. */
import { TokenizerError } from "../errors.ts";
import { checkComponent, DECODERS, flattened, NORMALIZERS, POST_PROCESSORS, PRE_TOKENIZERS } from "./components.ts";
import { checkModel, type CheckedModel } from "./model.ts";
import { booleanAt, countAt, listAt, objectAt, Place, textAt, type JsonObject } from "./place.ts";

/** A token that is matched in the text before the model sees it. Fields are those of the files. */
export interface AddedTokenEntry {
  readonly id: number;
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
  readonly special: boolean;
}

export interface TokenizerDefinition {
  readonly file: string;
  /** The whole file, unknown top-level keys included, for saving. */
  readonly json: JsonObject;
  readonly model: CheckedModel;
  readonly addedTokens: readonly AddedTokenEntry[];
  readonly normalizer: JsonObject | undefined;
  readonly preTokenizer: JsonObject | undefined;
  readonly postProcessor: JsonObject | undefined;
  readonly decoder: JsonObject | undefined;
}

/** @throws TokenizerError naming the file and the key. */
export function readDefinition(text: string, file: string): TokenizerDefinition {
  const place = new Place(file);
  const json = objectAt(parseJsonFile(text, file), place);
  const version = json["version"];
  if (version !== undefined && version !== "1.0") {
    place.at("version").expected('"1.0"', version);
  }
  const part = (key: string, kind: Parameters<typeof checkComponent>[2]): JsonObject | undefined =>
    json[key] === undefined || json[key] === null ? undefined : checkComponent(json[key], place.at(key), kind);
  const definition = {
    file,
    json,
    model: checkModel(json["model"], place.at("model")),
    addedTokens: readAddedTokens(json["added_tokens"] ?? [], place.at("added_tokens")),
    normalizer: part("normalizer", NORMALIZERS),
    preTokenizer: part("pre_tokenizer", PRE_TOKENIZERS),
    postProcessor: part("post_processor", POST_PROCESSORS),
    decoder: part("decoder", DECODERS),
  };
  checkPostProcessors(definition.postProcessor, place.at("post_processor"));
  return definition;
}

/** Only one part may place special tokens: the library's second one would take the first one's pieces for sequences. */
function checkPostProcessors(postProcessor: JsonObject | undefined, place: Place): void {
  const placing = flattened(postProcessor, "processors").filter((each) => each["type"] !== "ByteLevel");
  if (placing.length > 1) {
    place.fail(
      `${placing.length} parts of the sequence place special tokens (${placing.map((each) => String(each["type"])).join(", ")})`,
    );
  }
}

function readAddedTokens(value: unknown, place: Place): AddedTokenEntry[] {
  const contents = new Set<string>();
  const ids = new Set<number>();
  return listAt(value, place).map((item, index) => {
    const at = place.at(index);
    const token = readAddedToken(item, at);
    if (contents.has(token.content) || ids.has(token.id)) {
      at.fail(
        `the ${contents.has(token.content) ? `token ${JSON.stringify(token.content)}` : `id ${token.id}`} is there twice`,
      );
    }
    contents.add(token.content);
    ids.add(token.id);
    return token;
  });
}

function readAddedToken(value: unknown, place: Place): AddedTokenEntry {
  const token = objectAt(value, place);
  const flag = (name: string): boolean => booleanAt(token[name], place.at(name));
  const content = textAt(token["content"], place.at("content"));
  if (content === "") {
    place.at("content").expected("a token", content);
  }
  return {
    id: countAt(token["id"], place.at("id")),
    content,
    single_word: flag("single_word"),
    lstrip: flag("lstrip"),
    rstrip: flag("rstrip"),
    normalized: flag("normalized"),
    special: flag("special"),
  };
}

/** Parses a JSON file. @throws TokenizerError with line and column where it is not JSON. */
export function parseJsonFile(text: string, file: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const isCut = message.includes("end of JSON input");
    const position = /position (\d+)/.exec(message)?.[1] ?? (isCut ? text.length : undefined);
    throw new TokenizerError(
      `${file} is not valid JSON${position === undefined ? "" : placeIn(text, Number(position))}: ${message}`,
      { cause: error },
    );
  }
}

function placeIn(text: string, position: number): string {
  const before = text.slice(0, position);
  return ` at line ${before.split("\n").length}, column ${position - before.lastIndexOf("\n")}`;
}

/**
 * The text from which the native library is built. Truncation and padding of the file are left out: they would apply to every
 * encoding, where HF's tokenizers switch them on by call.
 */
export function nativeText(definition: TokenizerDefinition, postProcessor: JsonObject | undefined): string {
  return JSON.stringify({
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: definition.addedTokens,
    normalizer: definition.normalizer ?? null,
    pre_tokenizer: definition.preTokenizer ?? null,
    post_processor: postProcessor ?? null,
    decoder: definition.decoder ?? null,
    model: definition.model.json,
  });
}
