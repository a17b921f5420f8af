import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { UsageError } from "../errors.ts";

export const packageManagers = ["pnpm", "npm", "yarn", "bun"] as const;
export type PackageManager = (typeof packageManagers)[number];

/** Which program manages a project's packages, and how that is known. */
export interface PackageManagerChoice {
  readonly name: PackageManager;
  readonly reason: string;
}

interface Manifest {
  readonly packageManager?: unknown;
  readonly workspaces?: unknown;
  readonly devEngines?: { readonly packageManager?: { readonly name?: unknown } };
}

const lockfiles: readonly (readonly [file: string, manager: PackageManager])[] = [
  ["pnpm-lock.yaml", "pnpm"],
  ["package-lock.json", "npm"],
  ["npm-shrinkwrap.json", "npm"],
  ["yarn.lock", "yarn"],
  ["bun.lock", "bun"],
  ["bun.lockb", "bun"],
];

/**
 * The folder of the project that `folder` lies in: the nearest one with a package.json.
 *
 * @throws UsageError when there is none
 */
export function projectFolder(folder: string): string {
  for (const level of levelsOf(folder)) if (existsSync(join(level, "package.json"))) return level;
  throw new UsageError(
    `there is no package.json in ${folder} or above it. Make the folder a project first: npm init -y`,
  );
}

/**
 * The package manager of a project: what package.json says (`packageManager`, `devEngines`), else the lockfile, in the project's
 * folder and then in the workspace's; else the program that runs this one; else npm.
 *
 * @throws UsageError when lockfiles of several package managers lie side by side
 */
export function detectPackageManager(project: string, environment: NodeJS.ProcessEnv): PackageManagerChoice {
  for (const level of levelsOf(project)) {
    if (level !== project && !isWorkspaceRoot(level)) continue;
    const choice = declaredManager(level) ?? managerByLockfile(level);
    if (choice !== undefined) return choice;
  }
  const agent = asManager(/^(\w+)\//.exec(environment["npm_config_user_agent"] ?? "")?.[1]);
  if (agent !== undefined) return { name: agent, reason: `this command runs in ${agent}` };
  return { name: "npm", reason: "the project has no lockfile" };
}

/** The words that add packages to a project; `words` are package names and the package manager's own flags. */
export function addPackages(manager: PackageManager, words: readonly string[]): string[] {
  return [manager, manager === "npm" ? "install" : "add", ...words];
}

function levelsOf(folder: string): string[] {
  const parent = dirname(folder);
  return parent === folder ? [folder] : [folder, ...levelsOf(parent)];
}

function asManager(name: unknown): PackageManager | undefined {
  return packageManagers.find((manager) => manager === name);
}

function readManifest(folder: string): Manifest {
  const file = join(folder, "package.json");
  if (!existsSync(file)) return {};
  try {
    const manifest: unknown = JSON.parse(readFileSync(file, "utf8"));
    return typeof manifest === "object" && manifest !== null ? manifest : {};
  } catch (error) {
    throw new UsageError(`${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

/** A lockfile above the project counts only where it is the workspace's. */
function isWorkspaceRoot(folder: string): boolean {
  return existsSync(join(folder, "pnpm-workspace.yaml")) || readManifest(folder).workspaces !== undefined;
}

function declaredManager(folder: string): PackageManagerChoice | undefined {
  const { packageManager, devEngines } = readManifest(folder);
  const field = typeof packageManager === "string" ? packageManager.split("@", 1)[0] : undefined;
  const name = asManager(field) ?? asManager(devEngines?.packageManager?.name);
  return name === undefined ? undefined : { name, reason: `${join(folder, "package.json")} says so` };
}

function managerByLockfile(folder: string): PackageManagerChoice | undefined {
  const present = lockfiles.filter(([file]) => existsSync(join(folder, file)));
  const names = [...new Set(present.map(([, manager]) => manager))];
  const [name] = names;
  if (name === undefined) return undefined;
  if (names.length === 1) return { name, reason: `the project has a ${present[0]?.[0]}` };
  const files = present.map(([file]) => file).join(" and ");
  throw new UsageError(
    `${folder} has ${files}: which package manager is used? Say it with --package_manager ${names.join(" or ")}.`,
  );
}
