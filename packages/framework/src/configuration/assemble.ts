import type { RawArgument } from "@fms-accel/trainer";
import { ConfigurationError } from "../errors.ts";
import { howToAdd, pluginCatalogue } from "../plugins/catalogue.ts";
import type { PluginProblem, PluginRegistration } from "../plugins/plugin-discovery.ts";
import { mergeMappings, nodeAt, type MappingNode } from "./configuration-node.ts";
import { CONFIGURATION_VARIABLE, readBody, type ConfigurationInput } from "./configuration-source.ts";
import { isGiven, nodeOfOptions } from "./option-source.ts";

/** Where a configuration comes from. */
export interface ConfigurationSources {
  readonly configuration?: ConfigurationInput | undefined;
  readonly arguments?: readonly RawArgument[];
  readonly environment?: NodeJS.ProcessEnv;
}

/**
 * The mapping `plugins` of a run: of the file or object, with what flags say over it. With flags the environment variable does not count.
 *
 * @param say told of every setting of the file that gives way to a flag
 * @returns `undefined` when nothing is configured
 * @throws ConfigurationError, ArgumentError
 */
export function assembleConfiguration(
  { configuration, arguments: given = [], environment = process.env }: ConfigurationSources,
  registrations: readonly PluginRegistration[],
  problems: readonly PluginProblem[],
  say: (line: string) => void,
): MappingNode | undefined {
  const options = registrations.flatMap(({ plugins }) => plugins.flatMap((plugin) => plugin.options ?? []));
  refuseUnserved(given, new Set(options.map(({ name }) => name)), problems);
  const flags = nodeOfOptions(given, options);
  const body = readBody(configuration, flags === undefined ? environment : {});
  if (body === undefined || flags === undefined) return body ?? flags;
  return mergeMappings(body, flags, (path, before, after) =>
    say(`${after.where} replaces ${path} of ${before.where}.`),
  );
}

/** A flag whose plugin is not there would otherwise be passed over. */
function refuseUnserved(
  given: readonly RawArgument[],
  served: ReadonlySet<string>,
  problems: readonly PluginProblem[],
): void {
  for (const { name, where, value } of given) {
    if (served.has(name) || !isGiven(value)) continue;
    const problem = problems.find(({ manifest }) => manifest?.options.includes(name));
    if (problem !== undefined) {
      const { packageName, message, remedy } = problem;
      throw new ConfigurationError(`${where} is a flag of ${packageName}, which cannot be used: ${message} ${remedy}`);
    }
    const absent = pluginCatalogue.find(({ options }) => options.includes(name));
    if (absent !== undefined)
      throw new ConfigurationError(`${where} is a flag of ${absent.packageName}, ${howToAdd(absent)}`);
  }
}

/** What to do when nothing is configured. */
export const NO_CONFIGURATION: string =
  "There is no acceleration framework configuration. Give a file (--acceleration_framework_config_file, or the variable " +
  `${CONFIGURATION_VARIABLE}), or flags of plugins.`;

/** Where a path of a configuration was written; of one that is missing, the place that it is missing in. */
export function locate(body: MappingNode, path: string): string {
  const names = path.split(".");
  for (let length = names.length; length > 0; length--) {
    const found = nodeAt(body, names.slice(0, length));
    if (found !== undefined) return found.where;
  }
  return body.where;
}
