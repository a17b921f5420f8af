import { readFileSync } from "node:fs";

import type { z } from "zod";

import { ConfigError } from "../errors.ts";
import { type JsonDocument, parseJson } from "../json/json-document.ts";

/** Told about what was noticed but is no error; the default prints a Node.js process warning. */
export type WarningSink = (message: string) => void;

export interface ConfigOptions {
  readonly onWarning?: WarningSink | undefined;
  /** Names of keys of config.json that are unknown here and that the caller knows to be without effect on the model. */
  readonly ignoreConfigKeys?: readonly string[] | undefined;
}

/** A configuration as it was written, with what is needed to speak about it: where it is from and where its keys stand. */
export interface ConfigSource {
  /** Path of the file, or a name such as "configuration object". */
  readonly file: string;
  readonly json: Readonly<Record<string, unknown>>;
  readonly lineOf: JsonDocument["lineOf"];
  readonly onWarning: WarningSink;
  readonly ignoreConfigKeys: readonly string[];
}

/** Reads a JSON object from a file. @throws ConfigError naming the file when it is missing, no JSON, or has duplicate keys. */
export function readConfigSource(file: string, options: ConfigOptions = {}): ConfigSource {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(readFileSync(file));
  } catch (error) {
    const reason = error instanceof TypeError ? "it is not valid UTF-8" : (error as Error).message;
    throw new ConfigError(`${file}: cannot be read: ${reason}`);
  }
  let document: JsonDocument;
  try {
    document = parseJson(text);
  } catch (error) {
    throw new ConfigError(`${file}: not valid JSON: ${(error as Error).message}`);
  }
  const [duplicate] = document.duplicateKeys;
  if (duplicate !== undefined) {
    throw new ConfigError(`${file}: the key "${duplicate}" occurs twice. Keep one of them.`);
  }
  return configSource(document.value, { ...options, file, lineOf: document.lineOf });
}

/** Makes a source of a value that is already in memory. */
export function configSource(
  value: unknown,
  options: ConfigOptions & { file?: string; lineOf?: JsonDocument["lineOf"] } = {},
): ConfigSource {
  const file = options.file ?? "configuration object";
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ConfigError(`${file}: expected a JSON object with the settings of a model, found ${preview(value)}.`);
  }
  return {
    file,
    json: value as Record<string, unknown>,
    lineOf: options.lineOf ?? (() => undefined),
    onWarning: options.onWarning ?? ((message) => process.emitWarning(message, "FmsAccelWarning")),
    ignoreConfigKeys: options.ignoreConfigKeys ?? [],
  };
}

/** An error about one key: file, line, key, what was expected, what was found. */
export function configError(source: ConfigSource, path: readonly (string | number)[], problem: string): ConfigError {
  const line = source.lineOf(path);
  return new ConfigError(`${source.file}${line === undefined ? "" : `:${line}`}: ${path.join(".")}: ${problem}`);
}

/** Checks a value against a schema. All problems are told at once. `path` says where the value stands in the file. */
export function parseWith<S extends z.ZodType>(
  source: ConfigSource,
  schema: S,
  value: unknown,
  path: readonly string[] = [],
): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) {
    return result.data;
  }
  const problems = result.error.issues.map((issue) => {
    const steps = issue.path.map((step) => (typeof step === "symbol" ? String(step) : step));
    const found = steps.reduce<unknown>(
      (at, step) =>
        typeof at === "object" && at !== null ? (at as Record<string | number, unknown>)[step] : undefined,
      value,
    );
    return configError(source, [...path, ...steps], `${expectation(issue)}, found ${preview(found)}`).message;
  });
  throw new ConfigError(problems.join("\n"));
}

/** What a schema wanted, in words. */
function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return `expected ${article(issue.expected === "int" ? "whole number" : issue.expected)}`;
    case "too_small":
      return `expected ${issue.inclusive === false ? "more than" : "at least"} ${issue.minimum}`;
    case "too_big":
      return `expected ${issue.inclusive === false ? "less than" : "at most"} ${issue.maximum}`;
    case "invalid_value":
      return `expected ${issue.values.map((value) => JSON.stringify(value)).join(", ")}`;
    case "invalid_union":
      return issue.message;
    default:
      return issue.message;
  }
}

function article(noun: string): string {
  return /^[aeiou]/.test(noun) ? `an ${noun}` : `a ${noun}`;
}

/** A value as a message shows it: short JSON. */
export function preview(value: unknown): string {
  if (value === undefined) {
    return "nothing (the key is missing)";
  }
  if (typeof value === "number" && !Number.isFinite(value)) {
    return String(value);
  }
  const text = JSON.stringify(value) ?? typeof value;
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
