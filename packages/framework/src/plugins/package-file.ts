import { readFileSync } from "node:fs";
import { join } from "node:path";

/** What is read of a package.json; unchecked, since others write it. */
export interface PackageFile {
  readonly name?: unknown;
  readonly version?: unknown;
  readonly main?: unknown;
  readonly exports?: unknown;
  readonly workspaces?: unknown;
  readonly os?: unknown;
  readonly cpu?: unknown;
  readonly dependencies?: unknown;
  readonly devDependencies?: unknown;
  readonly optionalDependencies?: unknown;
  readonly peerDependencies?: unknown;
  readonly "fms-accel"?: unknown;
}

/** The package.json of a folder; `undefined` when there is none that can be read. */
export function readPackageFile(directory: string): PackageFile | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** A mapping of names to texts, such as dependencies; what is not text is left out. */
export function textEntries(value: unknown): [name: string, text: string][] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === "string");
}
