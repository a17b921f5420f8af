/** The files of a tokenizer directory, as bytes: what is unchanged is saved as it was. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseJsonFile } from "./definition/definition.ts";
import { isObject, Place, type JsonObject } from "./definition/place.ts";
import { TokenizerError } from "./errors.ts";

export const TOKENIZER_FILE = "tokenizer.json";
export const CONFIG_FILE = "tokenizer_config.json";
export const SPECIAL_TOKENS_FILE = "special_tokens_map.json";
export const ADDED_TOKENS_FILE = "added_tokens.json";
export const TEMPLATE_FILE = "chat_template.jinja";
export const TEMPLATE_FOLDER = "additional_chat_templates";

export interface TokenizerFiles {
  readonly directory: string;
  /** Bytes by name relative to the directory, with "/" between folder and file. */
  readonly bytes: ReadonlyMap<string, Uint8Array>;
}

/** @throws TokenizerError where the directory or its tokenizer.json cannot be read. */
export async function readTokenizerFiles(directory: string): Promise<TokenizerFiles> {
  const bytes = new Map<string, Uint8Array>();
  for (const name of [TOKENIZER_FILE, CONFIG_FILE, SPECIAL_TOKENS_FILE, ADDED_TOKENS_FILE, TEMPLATE_FILE]) {
    const content = await readIfPresent(join(directory, name));
    if (content !== undefined) {
      bytes.set(name, content);
    }
  }
  if (!bytes.has(TOKENIZER_FILE)) {
    const present = await namesIn(directory);
    const hint = present.includes("tokenizer.model")
      ? " Only tokenizer.model is there: convert it once with Transformers (AutoTokenizer.from_pretrained(…).save_pretrained(…))."
      : "";
    throw new TokenizerError(
      `${join(directory, TOKENIZER_FILE)} is missing; a tokenizer is loaded from that file.${hint}`,
    );
  }
  for (const name of await namesIn(join(directory, TEMPLATE_FOLDER))) {
    if (name.endsWith(".jinja")) {
      bytes.set(`${TEMPLATE_FOLDER}/${name}`, await readFile(join(directory, TEMPLATE_FOLDER, name)));
    }
  }
  return { directory, bytes };
}

async function readIfPresent(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (isMissing(error)) {
      return undefined;
    }
    throw new TokenizerError(`${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if (isMissing(error)) {
      return [];
    }
    throw new TokenizerError(`${directory} cannot be read: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}

/** A file's path, for messages. */
export function pathOf(files: TokenizerFiles, name: string): string {
  return join(files.directory, name);
}

/** A file as text, or undefined where it is absent. @throws TokenizerError where it is not UTF-8. */
export function textOfFile(files: TokenizerFiles, name: string): string | undefined {
  const bytes = files.bytes.get(name);
  if (bytes === undefined) {
    return undefined;
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new TokenizerError(`${pathOf(files, name)} is not UTF-8 text`, { cause: error });
  }
}

/** A JSON file's object, empty where the file is absent. */
export function objectOfFile(files: TokenizerFiles, name: string): JsonObject {
  const text = textOfFile(files, name);
  const path = pathOf(files, name);
  const value = text === undefined ? {} : parseJsonFile(text, path);
  return isObject(value) ? value : new Place(path).expected("an object", value);
}
