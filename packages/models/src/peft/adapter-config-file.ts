import { readFileSync } from "node:fs";
import { join } from "node:path";

import { parseJson } from "../json/json-document.ts";
import { listNames } from "../messages/did-you-mean.ts";
import { fileSource, type FieldSource, type Json } from "../settings/field-table.ts";
import { AdapterConfigError } from "./errors.ts";

/** Name of the configuration file in an adapter directory. */
export const ADAPTER_CONFIG_NAME = "adapter_config.json";

/** Kinds of adapters that can be used. */
export const PEFT_TYPES: readonly string[] = ["LORA", "PROMPT_TUNING"];

/** The text of `adapter_config.json` in an adapter directory. @throws AdapterConfigError */
export function readAdapterConfig(directory: string): string {
  const file = join(directory, ADAPTER_CONFIG_NAME);
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new AdapterConfigError(
      `${file} cannot be read (${(error as NodeJS.ErrnoException).code}): "${directory}" must be a directory saved by PEFT or by this package.`,
      { cause: error },
    );
  }
}

/** The kind of a saved adapter, its `peft_type`. @throws AdapterConfigError for one that cannot be used */
export function adapterType(directory: string): string {
  const file = join(directory, ADAPTER_CONFIG_NAME);
  const document = parseDocument(readAdapterConfig(directory), file);
  const type = document.value.get("peft_type");
  if (typeof type !== "string" || !PEFT_TYPES.includes(type)) {
    const place = fileSource(file, (key) => document.lineOf([key])).place("peft_type");
    throw new AdapterConfigError(
      `${place}: ${describeType(type)}: only adapters of the types ${listNames(PEFT_TYPES)} can be used.`,
    );
  }
  return type;
}

/**
 * The fields of an `adapter_config.json` but `peft_type`, which must be the one given.
 * @throws AdapterConfigError with file and line
 */
export function parseAdapterConfig(
  json: string,
  file: string,
  type: string,
): { fields: Map<string, Json>; source: FieldSource } {
  const document = parseDocument(json, file);
  const fields = document.value;
  const source = fileSource(file, (key) => document.lineOf([key]));
  const found = fields.get("peft_type");
  if (found !== type) {
    throw new AdapterConfigError(
      `${source.place("peft_type")}: ${describeType(found)}: only adapters of type "${type}" can be used.`,
    );
  }
  fields.delete("peft_type");
  fields.delete("runtime_config"); // PEFT ignores it in files, too
  // task_type has no default in the file format; ours is for configurations made here.
  if (!fields.has("task_type")) {
    fields.set("task_type", null);
  }
  return { fields, source };
}

function describeType(type: Json | undefined): string {
  return `"peft_type" is ${type === undefined ? "missing" : JSON.stringify(type)}`;
}

interface FieldDocument {
  readonly value: Map<string, Json>;
  lineOf(path: readonly string[]): number | undefined;
}

function parseDocument(json: string, file: string): FieldDocument {
  let document: ReturnType<typeof parseJson>;
  try {
    document = parseJson(json);
  } catch (error) {
    throw new AdapterConfigError(`${file} is not valid JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
  const { value, duplicateKeys } = document;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new AdapterConfigError(`${file} must hold a JSON object.`);
  }
  if (duplicateKeys.length > 0) {
    throw new AdapterConfigError(`${file} has duplicate keys: ${listNames(duplicateKeys)}.`);
  }
  return {
    value: new Map(Object.entries(value as Record<string, Json>)),
    lineOf: (path) => document.lineOf(path),
  };
}
