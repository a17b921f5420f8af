import { ConfigurationError } from "../errors.ts";
import { didYouMean } from "../cli/suggestions.ts";
import { describeNode, isPresent, type ConfigurationNode, type MappingNode } from "./configuration-node.ts";
import { nodeOfObject } from "./object-source.ts";
import { parseYaml, readYamlFile } from "./yaml-file.ts";

/** A configuration: the path of a YAML file, or what such a file holds. */
export type ConfigurationInput = string | { readonly plugins: Readonly<Record<string, unknown>> };

/** The variable that names a configuration file where none is given. */
export const CONFIGURATION_VARIABLE = "ACCELERATION_FRAMEWORK_CONFIG_FILE";

/**
 * The mapping `plugins` of a configuration. The variable's file is read when nothing is given, or when what is given has no plugins in it.
 *
 * @returns `undefined` when there is neither
 * @throws ConfigurationError
 */
export function readBody(
  input: ConfigurationInput | undefined,
  environment: NodeJS.ProcessEnv,
): MappingNode | undefined {
  const given = input === undefined ? undefined : bodyOf(input);
  const variable = environment[CONFIGURATION_VARIABLE];
  if (variable === undefined || variable === "" || (given !== undefined && given.entries.size > 0)) return given;
  return bodyOf(variable);
}

function bodyOf(input: ConfigurationInput): MappingNode {
  if (typeof input === "string") return pluginsOf(readYamlFile(input), input);
  return pluginsOf(nodeOfObject(input, "configuration"), "configuration");
}

/** As from a file, of a text. */
export function bodyOfText(text: string, file: string): MappingNode {
  return pluginsOf(parseYaml(text, file), file);
}

function pluginsOf(root: ConfigurationNode | undefined, name: string): MappingNode {
  const what = 'expected a mapping with the key "plugins"';
  if (root === undefined) throw new ConfigurationError(`${name}:1:1: ${what}; found nothing.`);
  if (root.kind !== "mapping") throw new ConfigurationError(`${root.where}: ${what}; found ${describeNode(root)}.`);
  const errors = [...root.entries]
    .filter(([key]) => key !== "plugins")
    .map(([key, { keyWhere }]) => `${keyWhere}: unknown key "${key}".${didYouMean(key, ["plugins"])}`);
  const plugins = root.entries.get("plugins")?.node;
  if (plugins === undefined) errors.push(`${root.where}: ${what}; it is missing.`);
  else if (plugins.kind !== "mapping") {
    const found = isPresent(plugins) ? describeNode(plugins) : "nothing";
    errors.unshift(`${plugins.where}: expected a mapping of sections under "plugins"; found ${found}.`);
  }
  if (errors.length > 0) throw new ConfigurationError(errors);
  return plugins as MappingNode;
}
