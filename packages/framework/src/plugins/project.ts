import { existsSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { PluginError } from "../errors.ts";
import { readPackageFile, textEntries } from "./package-file.ts";

/** What a project depends on. */
export interface Project {
  /** Folder of the nearest package.json; `undefined` when there is none. */
  readonly directory: string | undefined;
  /** Names of dependencies, with the folder of the package.json that has them: the project's, else its workspace's. */
  readonly dependencies: ReadonlyMap<string, string>;
}

/** Reads the package.json nearest to a folder, and that of the workspace it belongs to. */
export function readProject(from: string): Project {
  const dependencies = new Map<string, string>();
  let directory: string | undefined;
  for (const folder of ancestors(from)) {
    const file = readPackageFile(folder);
    if (file === undefined) continue;
    const isWorkspace = file.workspaces !== undefined || existsSync(join(folder, "pnpm-workspace.yaml"));
    if (directory !== undefined && !isWorkspace) continue;
    directory ??= folder;
    for (const group of [file.dependencies, file.devDependencies, file.optionalDependencies]) {
      for (const [name] of textEntries(group)) if (!dependencies.has(name)) dependencies.set(name, folder);
    }
    if (isWorkspace) break;
  }
  return { directory, dependencies };
}

/**
 * The real folder of a package as a file in `from` would import it, whatever the package exports: the nearest `node_modules` that has it.
 * Links are followed, as Node.js does, so that the package finds its own dependencies in pnpm's layout.
 *
 * @throws PluginError in a project of Yarn's Plug'n'Play that was not started by Yarn
 */
export function locatePackage(name: string, from: string): string | undefined {
  if (process.versions["pnp"] !== undefined) return locateByYarn(name, from);
  for (const folder of ancestors(from)) {
    const candidate = join(folder, "node_modules", name);
    if (existsSync(join(candidate, "package.json"))) return realpathSync(candidate);
  }
  if (ancestors(from).some((folder) => existsSync(join(folder, ".pnp.cjs")))) {
    throw new PluginError(
      `${from} is installed by Yarn's Plug'n'Play, which has no node_modules to look for ${name} in. ` +
        'Start the program by Yarn ("yarn fms-accel …"), or set "nodeLinker: node-modules" in .yarnrc.yml.',
    );
  }
  return undefined;
}

/** Yarn adds the module "pnpapi" to programs that it starts (https://yarnpkg.com/advanced/pnpapi). */
function locateByYarn(name: string, from: string): string | undefined {
  const yarn = createRequire(join(from, "package.json"))("pnpapi") as {
    resolveToUnqualified(request: string, issuer: string): string | null;
  };
  try {
    const directory = yarn.resolveToUnqualified(name, join(from, "package.json"));
    // Yarn ends it with a slash.
    return directory === null ? undefined : resolve(directory);
  } catch {
    return undefined;
  }
}

/** A folder and those that it is in, innermost first. */
function ancestors(from: string): string[] {
  const parent = dirname(from);
  return parent === from ? [from] : [from, ...ancestors(parent)];
}
