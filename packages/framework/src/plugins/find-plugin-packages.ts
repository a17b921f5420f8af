import { join } from "node:path";
import { pluginCatalogue } from "./catalogue.ts";
import { readPackageFile } from "./package-file.ts";
import type { PluginProblem } from "./plugin-discovery.ts";
import { parseManifest, type PluginManifest } from "./plugin-manifest.ts";
import { locatePackage, readProject } from "./project.ts";

/** An installed package that says of itself that it has plugins; none of its code has run. */
export interface PluginPackage {
  readonly packageName: string;
  readonly version: string;
  readonly directory: string;
  readonly manifest: PluginManifest;
}

export interface FoundPluginPackages {
  /** Folder of the project's package.json; `undefined` when there is none. */
  readonly projectDirectory: string | undefined;
  /** In the order in which they run: this project's packages in the catalogue's order, then those of others by name. */
  readonly packages: readonly PluginPackage[];
  readonly problems: readonly PluginProblem[];
}

/**
 * Finds the plugin packages among the dependencies of a project (and of its workspace) by their package.json, without loading them.
 *
 * @param from a folder of the project; default: the working directory
 * @throws PluginError in a project of Yarn's Plug'n'Play that was not started by Yarn
 */
export function findPluginPackages(from: string = process.cwd()): FoundPluginPackages {
  const project = readProject(from);
  const packages: PluginPackage[] = [];
  const problems: PluginProblem[] = [];
  for (const [packageName, dependent] of project.dependencies) {
    const directory = locatePackage(packageName, dependent);
    const file = directory === undefined ? undefined : readPackageFile(directory);
    if (directory === undefined || file === undefined) {
      const catalogued = pluginCatalogue.find((entry) => entry.packageName === packageName);
      if (catalogued !== undefined) problems.push(notInstalled(packageName, dependent, catalogued));
      continue;
    }
    if (file["fms-accel"] === undefined) continue;
    const version = typeof file.version === "string" ? file.version : "0.0.0";
    try {
      const manifest = parseManifest(packageName, file["fms-accel"]);
      packages.push({ packageName, version, directory, manifest });
    } catch (error) {
      problems.push({
        kind: "manifest",
        packageName,
        version,
        directory,
        manifest: undefined,
        message: (error as Error).message,
        remedy: "This is for its authors to mend; another version of it may do.",
      });
    }
  }
  return { projectDirectory: project.directory, packages: packages.sort(byCatalogue), problems };
}

function notInstalled(packageName: string, dependent: string, manifest: PluginManifest): PluginProblem {
  return {
    kind: "missing",
    packageName,
    version: undefined,
    directory: undefined,
    manifest,
    message: `${join(dependent, "package.json")} names it, but it is not installed.`,
    remedy: "Install the project's dependencies.",
  };
}

function byCatalogue(a: PluginPackage, b: PluginPackage): number {
  const rank = ({ packageName }: PluginPackage): number => {
    const index = pluginCatalogue.findIndex((entry) => entry.packageName === packageName);
    return index < 0 ? pluginCatalogue.length : index;
  };
  return rank(a) - rank(b) || (a.packageName < b.packageName ? -1 : 1);
}
