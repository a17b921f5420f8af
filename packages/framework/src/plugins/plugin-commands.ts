import type { CommandDefinition } from "../cli/command-definition.ts";
import type { CommandEntry, Program } from "../cli/main.ts";
import { PluginError } from "../errors.ts";
import { howToAdd, pluginCatalogue, type CataloguedPackage } from "./catalogue.ts";
import { describeProblem } from "./discover-plugins.ts";
import { findPluginPackages, type PluginPackage } from "./find-plugin-packages.ts";
import { loadPluginPackage } from "./load-plugin-package.ts";

/**
 * The program with the commands that plugin packages of the project add. A command of two words, such as "preview --packing", stands in for
 * the command of its first word when the flag is given. No code of a package runs before one of its commands is called.
 *
 * @param packages the plugin packages of the project; default: those of the working directory's
 */
export function withPluginCommands(
  program: Program,
  argv: readonly string[],
  packages: () => readonly PluginPackage[] = pluginPackagesHere,
): Program {
  const [called = ""] = argv;
  const isBuiltIn = program.commands.some(({ name }) => name === called);
  const flags = new Set(argv.filter((word) => word.startsWith("--")).map((word) => word.split("=", 1)[0]));
  // Where nothing of a plugin can be meant, its package.json is not even looked for: `doctor` works in any project.
  if (isBuiltIn && flags.size === 0) return program;
  const added = pluginCommandEntries(packages());
  const missing = pluginCatalogue.flatMap((known) =>
    Object.keys(known.commands ?? {})
      .filter((name) => !added.some((entry) => entry.name === name))
      .map((name) => absentCommand(name, known)),
  );
  const isMode = ({ name }: CommandEntry): boolean => {
    const [command, flag] = name.split(" ");
    return command === called && flag !== undefined && flags.has(flag);
  };
  const mode = [...added, ...missing].find(isMode);
  const own = program.commands.map((entry) =>
    entry.name === called && mode !== undefined ? { ...mode, name: called } : entry,
  );
  const commands = [...added, ...missing.filter(({ name }) => name === called)].filter(
    ({ name }) => !name.includes(" ") && !program.commands.some((entry) => entry.name === name),
  );
  return { ...program, commands: [...own, ...commands] };
}

/** The commands of packages, those for a mode of a command among them. Of two of one name the first package's counts. */
export function pluginCommandEntries(packages: readonly PluginPackage[]): CommandEntry[] {
  const entries = packages.flatMap((found) => entriesOf(found));
  return entries.filter(({ name }, at) => entries.findIndex((other) => other.name === name) === at);
}

/** The plugin packages of the working directory's project; none where it cannot be read. */
export function pluginPackagesHere(): readonly PluginPackage[] {
  try {
    return findPluginPackages().packages;
  } catch {
    // What is wrong with the project is said by the commands that need its plugins.
    return [];
  }
}

function entriesOf(found: PluginPackage): CommandEntry[] {
  return Object.entries(found.manifest.commands ?? {}).map(([name, summary]) => ({
    name,
    summary,
    load: async (): Promise<CommandDefinition> => {
      const loaded = await loadPluginPackage(found);
      if ("kind" in loaded) throw new PluginError(describeProblem(loaded));
      const entry = loaded.commands?.find((command) => command.name === name);
      if (entry === undefined) throw new PluginError(`${found.packageName} has no command ${name}.`);
      return entry.load();
    },
  }));
}

/** A command of a package that the project has not. */
function absentCommand(name: string, entry: CataloguedPackage): CommandEntry {
  return {
    name,
    summary: `of ${entry.packageName}, which is not installed`,
    load: () => Promise.reject(new PluginError(`${name} is a command of ${entry.packageName}, ${howToAdd(entry)}`)),
  };
}
