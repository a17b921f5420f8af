import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import semver from "semver";
import { readPackageFile, textEntries, type PackageFile } from "./package-file.ts";
import { locatePackage } from "./project.ts";

const OWN_DIRECTORY = dirname(fileURLToPath(new URL("../../package.json", import.meta.url)));

/** Packages of which a process can have one copy only: tensors, module classes and errors of two copies do not know each other. */
const SHARED = ["@fms-accel/framework", "@fms-accel/trainer", "@fms-accel/models", "@fms-accel/tensor"] as const;

export interface Incompatibility {
  readonly kind: "incompatible" | "build";
  readonly message: string;
  readonly remedy: string;
}

/** Why a package cannot work in this process, from its package.json alone; `undefined` when nothing speaks against it. */
export function findIncompatibility(file: PackageFile, directory: string): Incompatibility | undefined {
  return wrongPlatform(file) ?? wrongVersion(file) ?? secondCopy(directory);
}

function wrongPlatform({ os, cpu }: PackageFile): Incompatibility | undefined {
  if (allows(os, process.platform) && allows(cpu, process.arch)) return undefined;
  return {
    kind: "build",
    message: `it is made for ${listed(os)} on ${listed(cpu)}, and this is ${process.platform} on ${process.arch}.`,
    remedy: "Leave it out on this machine, or look for a version that has a build for it.",
  };
}

function listed(value: unknown): string {
  return Array.isArray(value) ? value.join(", ") : "any";
}

/** npm's lists of platforms: names that are allowed, or names with "!" that are not. */
function allows(list: unknown, name: string): boolean {
  if (!Array.isArray(list)) return true;
  const refused = list.includes(`!${name}`);
  const positive = list.some((entry) => typeof entry === "string" && !entry.startsWith("!"));
  return !refused && (!positive || list.includes(name));
}

/** Peer dependencies count, and plain ones where a package has only those. */
function wrongVersion(file: PackageFile): Incompatibility | undefined {
  const needed = new Map([...textEntries(file.dependencies), ...textEntries(file.peerDependencies)]);
  for (const name of SHARED) {
    const range = needed.get(name);
    // A range of the workspace protocol is for the package of the same workspace, whatever its version.
    if (range === undefined || range.startsWith("workspace:")) continue;
    const version = ownVersion(name);
    if (version === undefined || semver.satisfies(version, range, { includePrerelease: true })) continue;
    const isRange = semver.validRange(range) !== null;
    return {
      kind: "incompatible",
      message: isRange
        ? `it is made for ${name} ${range}, and this is ${version}.`
        : `its package.json asks for ${name} "${range}", which is no range of versions.`,
      remedy: "Install a version of it that is made for this one, or bring both to their newest versions.",
    };
  }
  return undefined;
}

function ownVersion(name: string): string | undefined {
  const directory = ownCopy(name);
  const version = directory === undefined ? undefined : readPackageFile(directory)?.version;
  return typeof version === "string" ? version : undefined;
}

function ownCopy(name: string): string | undefined {
  return name === "@fms-accel/framework" ? OWN_DIRECTORY : locatePackage(name, OWN_DIRECTORY);
}

function secondCopy(directory: string): Incompatibility | undefined {
  for (const name of SHARED) {
    const theirs = locatePackage(name, directory);
    const ours = ownCopy(name);
    if (theirs === undefined || ours === undefined || theirs === ours) continue;
    return {
      kind: "incompatible",
      message: `it would use another copy of ${name} (${theirs}) than this program (${ours}), and the two cannot share tensors.`,
      remedy:
        "Start the program that the project has installed (npx fms-accel in its folder); " +
        "if that is what you did, remove the duplicate (npm dedupe, pnpm dedupe) or bring the versions together.",
    };
  }
  return undefined;
}
