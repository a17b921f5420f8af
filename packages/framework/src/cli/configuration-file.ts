import { readFileSync } from "node:fs";
import { LineCounter, isMap, isScalar, parseDocument, type Document, type Node, type YAMLMap } from "yaml";
import type { RawArgument } from "@fms-accel/trainer";
import { ConfigurationError } from "../errors.ts";
import { didYouMean } from "./suggestions.ts";

/**
 * Reads a YAML file of arguments: a mapping whose keys are flag names without `--`.
 *
 * @param known every name that may stand in the file
 * @returns one entry a key, in the file's order; `where` is `file:line:column key`
 * @throws ConfigurationError naming the file and, for everything inside it, line and column; all unknown keys are named at once
 */
export function readConfigurationFile(file: string, known: ReadonlySet<string>): RawArgument[] {
  const text = readText(file);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  const fault = document.errors[0] ?? document.warnings[0];
  if (fault !== undefined) throw new ConfigurationError(`${at(fault.pos[0])}: ${fault.message}`);
  const root = document.contents;
  if (!isMap(root)) {
    const found = root === null ? "an empty file" : isScalar(root) ? "a single value" : "a list";
    throw new ConfigurationError(
      `${at(root?.range?.[0] ?? 0)}: expected a mapping of arguments, such as "learning_rate: 2e-4"; found ${found}.`,
    );
  }
  return readMapping(root, document, known, at);
}

function readText(file: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(file));
  } catch (error) {
    const reason =
      error instanceof TypeError ? "it is not UTF-8 text" : error instanceof Error ? error.message : String(error);
    throw new ConfigurationError(`${file}: the configuration file cannot be read: ${reason}`, { cause: error });
  }
}

function readMapping(
  root: YAMLMap,
  document: Document,
  known: ReadonlySet<string>,
  at: (offset: number) => string,
): RawArgument[] {
  const unknown: string[] = [];
  const given: RawArgument[] = [];
  for (const { key, value } of root.items) {
    const place = at(startOf(key) ?? 0);
    const name = isScalar(key) ? String(key.value) : undefined;
    if (name === undefined)
      throw new ConfigurationError(`${place}: expected the name of an argument, found a collection.`);
    if (!known.has(name)) {
      unknown.push(`${place}: unknown key "${name}".${didYouMean(name, [...known])}`);
      continue;
    }
    const where = `${at(startOf(value) ?? startOf(key) ?? 0)} ${name}`;
    given.push({ name, value: plainValue(value, document, where), where });
  }
  if (unknown.length > 0) throw new ConfigurationError(unknown.join("\n"));
  return given;
}

function startOf(node: unknown): number | undefined {
  return (node as Node | null)?.range?.[0];
}

function plainValue(node: unknown, document: Document, where: string): unknown {
  if (node === null || node === undefined) return null;
  try {
    return (node as Node).toJS(document, { maxAliasCount: 100 });
  } catch (error) {
    throw new ConfigurationError(`${where}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}
