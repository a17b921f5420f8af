import { findPluginPackages } from "./find-plugin-packages.ts";
import { loadPluginPackage } from "./load-plugin-package.ts";
import type { PluginDiscovery, PluginProblem, PluginRegistration } from "./plugin-discovery.ts";

/**
 * Finds and loads the plugin packages that a project depends on. Nothing is thrown for a package that cannot be used: it is among the
 * problems.
 *
 * @param from a folder of the project; default: the working directory
 * @throws PluginError in a project of Yarn's Plug'n'Play that was not started by Yarn
 */
export async function discoverPlugins(from: string = process.cwd()): Promise<PluginDiscovery> {
  const { projectDirectory, packages, problems: found } = findPluginPackages(from);
  const registrations: PluginRegistration[] = [];
  const problems: PluginProblem[] = [...found];
  for (const candidate of packages) {
    const loaded = await loadPluginPackage(candidate);
    if ("kind" in loaded) problems.push(loaded);
    else {
      const clash = findClash(loaded, registrations);
      if (clash === undefined) registrations.push(loaded);
      else
        problems.push({
          kind: "manifest",
          ...candidate,
          message: `it serves ${clash.what}, which ${clash.packageName} serves already.`,
          remedy: "Remove one of the two packages.",
        });
    }
  }
  return { projectDirectory, registrations, problems };
}

/** The first section or flag that two packages want. */
export function findClash(
  { plugins }: PluginRegistration,
  others: readonly PluginRegistration[],
): { readonly what: string; readonly packageName: string } | undefined {
  for (const other of others) {
    const taken = new Set(other.plugins.flatMap(claimsOf));
    const what = plugins.flatMap(claimsOf).find((claim) => taken.has(claim));
    if (what !== undefined) return { what, packageName: other.packageName };
  }
  return undefined;
}

function claimsOf({ name, schemas, options = [] }: PluginRegistration["plugins"][number]): string[] {
  return [name, ...Object.keys(schemas), ...options.map((option) => `--${option.name}`)];
}

/** What is wrong with a package and what to do, in one line. */
export function describeProblem({ packageName, version, message, remedy }: PluginProblem): string {
  return `${packageName}${version === undefined ? "" : ` ${version}`}: ${message} ${remedy}`;
}
