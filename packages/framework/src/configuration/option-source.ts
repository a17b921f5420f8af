import { parseArgumentValue, type RawArgument } from "@fms-accel/trainer";
import { ConfigurationError } from "../errors.ts";
import type { PluginOption } from "../plugins/acceleration-plugin.ts";
import {
  isPresent,
  nodeAt,
  type ConfigurationNode,
  type MappingEntry,
  type MappingNode,
} from "./configuration-node.ts";

/**
 * The configuration that flags of plugins make: `--padding_free huggingface` is the section
 * `training: {attention: {padding_free: {method: huggingface}}}`. Places are the flags.
 *
 * @param given what was given on a command line or in a file of arguments; what is no option of a plugin is passed over
 * @returns `undefined` when no option was given
 * @throws ConfigurationError or ArgumentError naming the flag
 */
export function nodeOfOptions(
  given: readonly RawArgument[],
  options: readonly PluginOption[],
): MappingNode | undefined {
  let root: MappingNode | undefined;
  for (const argument of given) {
    const option = options.find(({ name }) => name === argument.name);
    if (option === undefined || !isGiven(argument.value)) continue;
    const { where } = argument;
    root ??= { kind: "mapping", where, entries: new Map() };
    root = place(root, option.path.split("."), where);
    for (const [key, value] of Object.entries(sectionOf(option, argument))) {
      const path = [...option.path.split("."), key];
      const before = nodeAt(root, path);
      if (isPresent(before)) {
        throw new ConfigurationError(
          `${where}: ${path.join(".")} is set already by ${before.where}. Give one of them.`,
        );
      }
      root = place(root, path, where, { kind: "scalar", where, value: value as string | number | boolean });
    }
  }
  return root;
}

/** In a file of arguments an option can be written as not given. */
export function isGiven(value: unknown): boolean {
  return value !== null && value !== undefined && value !== false && value !== "None";
}

/** The keys of the section that one option makes; those without a value and default are left out. */
function sectionOf(option: PluginOption, { value, where }: RawArgument): Readonly<Record<string, unknown>> {
  const takesTruth = option.parse !== undefined || option.values[0]?.type === "boolean";
  const words: unknown[] = value === true && !takesTruth ? [] : Array.isArray(value) ? value : [value];
  if (option.parse !== undefined) {
    try {
      return option.parse(words.map(String));
    } catch (error) {
      throw new ConfigurationError(`${where}: ${(error as Error).message}`, { cause: error });
    }
  }
  if (words.length > option.values.length) {
    const names = option.values.map(({ name }) => name).join(", ");
    throw new ConfigurationError(
      `${where}: expected at most ${option.values.length} values (${names}); found ${words.length}.`,
    );
  }
  const entries = option.values.map((row, index): [string, unknown] => {
    const word = words[index];
    return [row.name, word === undefined ? row.default : parseArgumentValue(row, word, `${where} ${row.name}`)];
  });
  return Object.fromEntries(entries.filter(([, entry]) => entry !== null && entry !== undefined));
}

/** A mapping with a value put at a path; mappings on the way are made. Without a value the path is made a mapping. */
function place(root: MappingNode, path: readonly string[], where: string, value?: ConfigurationNode): MappingNode {
  const [first, ...rest] = path;
  if (first === undefined) return root;
  const entries = new Map<string, MappingEntry>(root.entries);
  const before = entries.get(first);
  const below: MappingNode =
    before?.node.kind === "mapping" ? before.node : { kind: "mapping", where, entries: new Map() };
  const node = rest.length === 0 && value !== undefined ? value : place(below, rest, where, value);
  entries.set(first, { keyWhere: before?.keyWhere ?? where, node });
  return { ...root, entries };
}
