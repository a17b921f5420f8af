import type { RawArgument } from "@fms-accel/trainer";
import { plainValue } from "../configuration/configuration-node.ts";
import { readYamlFile } from "../configuration/yaml-file.ts";
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
  const root = readYamlFile(file);
  if (root?.kind !== "mapping") {
    const found = root === undefined ? "an empty file" : root.kind === "scalar" ? "a single value" : "a list";
    throw new ConfigurationError(
      `${root?.where ?? `${file}:1:1`}: expected a mapping of arguments, such as "learning_rate: 2e-4"; found ${found}.`,
    );
  }
  const unknown: string[] = [];
  const given: RawArgument[] = [];
  for (const [name, { keyWhere, node }] of root.entries) {
    if (known.has(name)) given.push({ name, value: plainValue(node, "keep"), where: `${node.where} ${name}` });
    else unknown.push(`${keyWhere}: unknown key "${name}".${didYouMean(name, [...known])}`);
  }
  if (unknown.length > 0) throw new ConfigurationError(unknown);
  return given;
}
