import type { CommandEntry } from "../cli/main.ts";
import type { AccelerationPlugin } from "./acceleration-plugin.ts";
import type { PluginManifest } from "./plugin-manifest.ts";

/** What is wrong with what a package exports as its plugins, in view of what its package.json says; `undefined` when nothing is. */
export function findShapeFault(exported: unknown, manifest: PluginManifest | undefined): string | undefined {
  if (!Array.isArray(exported)) return 'its entry exports no array "plugins".';
  for (const [index, plugin] of exported.entries()) {
    const fault = pluginFault(plugin);
    if (fault !== undefined) return `plugins[${index}] ${fault}.`;
  }
  const plugins = exported as readonly AccelerationPlugin[];
  if (manifest === undefined) return undefined;
  return (
    difference(
      "paths",
      manifest.paths,
      plugins.flatMap(({ schemas }) => Object.keys(schemas)),
    ) ??
    difference(
      "options",
      manifest.options,
      plugins.flatMap(({ options }) => options?.map(({ name }) => name) ?? []),
    )
  );
}

/** The same of what it exports as its commands. */
export function findCommandFault(exported: unknown, { commands = {} }: PluginManifest): string | undefined {
  if (!Array.isArray(exported)) return 'what its entry exports as "commands" is no array.';
  const found = exported as readonly (Partial<CommandEntry> | null)[];
  const wrong = found.findIndex(
    (entry) => typeof entry?.name !== "string" || typeof entry.summary !== "string" || typeof entry.load !== "function",
  );
  if (wrong >= 0) return `commands[${wrong}] is no command: it needs a name, a summary and a function "load".`;
  return difference(
    "commands",
    Object.keys(commands),
    found.map((entry) => entry?.name ?? ""),
  );
}

function pluginFault(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null) return "is no object";
  const plugin = value as Partial<AccelerationPlugin>;
  if (typeof plugin.name !== "string" || plugin.name === "") return "has no name";
  if (typeof plugin.activate !== "function") return `(${plugin.name}) has no function "activate"`;
  const { allOf = [], anyOf = [] } = plugin.paths ?? {};
  if (allOf.length === 0 && anyOf.length === 0)
    return `(${plugin.name}) names no path: give at least one in allOf or anyOf`;
  if (typeof plugin.schemas !== "object" || plugin.schemas === null) return `(${plugin.name}) has no schemas`;
  for (const [path, schema] of Object.entries(plugin.schemas)) {
    if (typeof (schema as { safeParse?: unknown } | null)?.safeParse !== "function")
      return `(${plugin.name}) has no zod schema at "${path}"`;
  }
  const strangers = (plugin.options ?? []).filter(({ path }) => !Object.hasOwn(plugin.schemas ?? {}, path));
  return strangers.length === 0
    ? undefined
    : `(${plugin.name}) has an option for "${strangers[0]?.path}", which it has no schema for`;
}

function difference(key: string, declared: readonly string[], found: readonly string[]): string | undefined {
  const undeclared = found.filter((name) => !declared.includes(name));
  if (undeclared.length > 0)
    return `its plugins serve ${undeclared.join(", ")}, but "${key}" of its package.json does not say so.`;
  const unserved = declared.filter((name) => !found.includes(name));
  if (unserved.length > 0)
    return `"${key}" of its package.json names ${unserved.join(", ")}, which none of its plugins serves.`;
  return undefined;
}
