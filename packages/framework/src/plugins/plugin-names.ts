import { nearestNames } from "../cli/suggestions.ts";
import { UsageError } from "../errors.ts";
import { pluginCatalogue } from "./catalogue.ts";

/** Plugins of the Python original that have no counterpart here. */
const absentPlugins: ReadonlyMap<string, string> = new Map([
  ["odm", "online data mixing"],
  ["mcp", "context parallelism for Mamba layers"],
]);

/** The folder of a package of this project. */
function folderOf(packageName: string): string {
  return packageName.replace(/^@fms-accel\//, "");
}

/**
 * The package name of a plugin of this project, by short name, folder or the name of the Python package (`fms_acceleration_peft`); a
 * version (`peft@0.2.0`) stays. Any other name is a package of its own and comes back as it is.
 *
 * @throws UsageError for a name that looks like a mistyped short name, so that nobody installs a stranger's package by accident
 */
export function resolvePluginName(word: string): string {
  const [, name = "", version = ""] = /^(@?[^@]+)(@.*)?$/.exec(word) ?? [];
  const wanted = name.replace(/^fms[-_]acceleration[-_]/, "");
  const names = pluginCatalogue.map(({ packageName, shortname }) => [shortname, folderOf(packageName)] as const);
  const at = names.findIndex((own) => own.some((known) => known === wanted));
  const found = pluginCatalogue[at];
  if (found !== undefined) return found.packageName + version;
  const absent = absentPlugins.get(wanted);
  if (absent !== undefined) throw new UsageError(`${name}: there is no plugin for ${absent} yet.`);
  const near = name.startsWith("@") ? [] : nearestNames(wanted, names.flat());
  if (near.length === 0) return word;
  throw new UsageError(
    `unknown plugin "${name}". Did you mean ${near.join(" or ")}? A package of exactly this name is added with the package manager itself.`,
  );
}
