/** Writes a tokenizer's files. */
import { mkdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { writeFileAtomically, writeTextAtomically } from "../files/atomic-write.ts";
import type { Backend } from "./backend.ts";
import type { ChatTemplates } from "./chat-template.ts";
import type { JsonObject } from "./definition/place.ts";
import { TokenizerError } from "./errors.ts";
import {
  ADDED_TOKENS_FILE,
  CONFIG_FILE,
  objectOfFile,
  SPECIAL_TOKENS_FILE,
  TEMPLATE_FILE,
  TEMPLATE_FOLDER,
  TOKENIZER_FILE,
  type TokenizerFiles,
} from "./files.ts";

export interface TokenizerState {
  readonly files: TokenizerFiles;
  readonly backend: Backend;
  readonly named: ReadonlyMap<string, string>;
  readonly extra: readonly string[];
  readonly templates: ChatTemplates;
  readonly settings: { readonly modelMaxLength: number; readonly paddingSide: string; readonly truncationSide: string };
  /** What differs from the files. */
  readonly changed: {
    readonly tokens: boolean;
    readonly processor: boolean;
    readonly templates: boolean;
    readonly settings: boolean;
  };
}

export async function saveTokenizer(directory: string, state: TokenizerState): Promise<string[]> {
  const { files, changed } = state;
  const written = new Map<string, string | Uint8Array>(files.bytes);
  if (changed.templates) {
    for (const name of files.bytes.keys()) {
      if (name === TEMPLATE_FILE || name.startsWith(`${TEMPLATE_FOLDER}/`)) {
        written.delete(name);
      }
    }
    for (const [name, template] of state.templates) {
      written.set(name === "default" ? TEMPLATE_FILE : templatePath(name), template);
    }
  }
  if (changed.tokens || changed.templates || changed.settings) {
    written.set(CONFIG_FILE, jsonText(configuration(state)));
  }
  if (changed.tokens) {
    if (files.bytes.has(SPECIAL_TOKENS_FILE)) {
      written.set(SPECIAL_TOKENS_FILE, jsonText(specialTokensMap(state)));
    }
    if (files.bytes.has(ADDED_TOKENS_FILE)) {
      const beyond = state.backend.addedTokens.filter((token) => token.id >= state.backend.modelSize);
      written.set(
        ADDED_TOKENS_FILE,
        jsonText({
          ...objectOfFile(files, ADDED_TOKENS_FILE),
          ...Object.fromEntries(beyond.map((token) => [token.content, token.id])),
        }),
      );
    }
  }
  await mkdir(directory, { recursive: true });
  const paths: string[] = [];
  for (const [name, content] of written) {
    const path = join(directory, name);
    await mkdir(dirname(path), { recursive: true });
    if (name === TOKENIZER_FILE && (changed.tokens || changed.processor)) {
      writeTextAtomically(path, await tokenizerText(path, state));
    } else {
      writeFileAtomically(path, (append) =>
        append(typeof content === "string" ? Buffer.from(content, "utf8") : content),
      );
    }
    paths.push(path);
  }
  if (changed.templates) {
    await removeStaleTemplates(directory, files, written);
  }
  return paths;
}

/** A template's file; the name comes from a configuration and must not lead out of the folder. */
function templatePath(name: string): string {
  if (!/^[\w-][\w. -]*$/.test(name)) {
    throw new TokenizerError(`The chat template ${JSON.stringify(name)} cannot be saved under that name`);
  }
  return `${TEMPLATE_FOLDER}/${name}.jinja`;
}

/** Saving over the source directory must not leave a template behind that this tokenizer no longer has. */
async function removeStaleTemplates(
  directory: string,
  files: TokenizerFiles,
  written: ReadonlyMap<string, unknown>,
): Promise<void> {
  for (const name of files.bytes.keys()) {
    if (!written.has(name)) {
      await rm(join(directory, name), { force: true });
    }
  }
}

/** tokenizer.json as the library writes it, with the file's own truncation and padding, which the library was not given. */
async function tokenizerText(path: string, state: TokenizerState): Promise<string> {
  const temporary = `${path}.${process.pid}.new`;
  try {
    state.backend.save(temporary);
    let text = await readFile(temporary, "utf8");
    for (const key of ["truncation", "padding"]) {
      const value = state.backend.definition.json[key];
      if (value !== undefined && value !== null) {
        text = text.replace(
          `\n  "${key}": null,`,
          () => `\n  "${key}": ${JSON.stringify(value, null, 2).replaceAll("\n", "\n  ")},`,
        );
      }
    }
    return text;
  } finally {
    await rm(temporary, { force: true });
  }
}

function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function configuration(state: TokenizerState): JsonObject {
  const config: Record<string, unknown> = { ...objectOfFile(state.files, CONFIG_FILE) };
  if (state.changed.tokens) {
    updateTokens(config, state);
    const decoder = config["added_tokens_decoder"];
    if (decoder !== undefined && decoder !== null) {
      config["added_tokens_decoder"] = Object.fromEntries(
        state.backend.addedTokens.map(({ id, content, lstrip, normalized, rstrip, single_word, special }) => [
          String(id),
          { content, lstrip, normalized, rstrip, single_word, special },
        ]),
      );
    }
  }
  if (state.changed.templates) {
    delete config["chat_template"];
  }
  if (state.changed.settings) {
    config["padding_side"] = state.settings.paddingSide;
    config["truncation_side"] = state.settings.truncationSide;
    if (Number.isFinite(state.settings.modelMaxLength)) {
      config["model_max_length"] = state.settings.modelMaxLength;
    }
  }
  return config;
}

/** Named tokens under their names, as strings where they changed; further ones under the key that the file has. */
function updateTokens(target: Record<string, unknown>, state: TokenizerState): void {
  for (const name of Object.keys(target)) {
    if (name.endsWith("_token") && isToken(target[name]) && !state.named.has(name)) {
      delete target[name];
    }
  }
  const extraKey = "additional_special_tokens" in target ? "additional_special_tokens" : "extra_special_tokens";
  const nested = isToken(target[extraKey]) || Array.isArray(target[extraKey]) ? undefined : target[extraKey];
  for (const [name, token] of state.named) {
    const isNested = typeof nested === "object" && nested !== null && name in nested;
    if (!isNested && contentOf(target[name]) !== token) {
      target[name] = token;
    }
  }
  if (nested === undefined || nested === null) {
    const before = Array.isArray(target[extraKey]) ? target[extraKey].map(contentOf) : [];
    if (before.length !== state.extra.length || before.some((token, index) => token !== state.extra[index])) {
      target[extraKey] = state.extra;
    }
  }
}

function isToken(value: unknown): boolean {
  return contentOf(value) !== undefined;
}

function contentOf(value: unknown): string | undefined {
  if (typeof value === "string") {
    return value;
  }
  const content: unknown =
    typeof value === "object" && value !== null && "content" in value ? value.content : undefined;
  return typeof content === "string" ? content : undefined;
}

function specialTokensMap(state: TokenizerState): JsonObject {
  const map: Record<string, unknown> = { ...objectOfFile(state.files, SPECIAL_TOKENS_FILE) };
  updateTokens(map, state);
  return map;
}
