import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { moduleResolve } from "import-meta-resolve";
import type { CommandEntry } from "../cli/main.ts";
import type { AccelerationPlugin } from "./acceleration-plugin.ts";
import { findIncompatibility } from "./compatibility.ts";
import type { PluginPackage } from "./find-plugin-packages.ts";
import { readPackageFile, type PackageFile } from "./package-file.ts";
import type { PluginProblem, PluginProblemKind, PluginRegistration } from "./plugin-discovery.ts";
import { findCommandFault, findShapeFault } from "./plugin-shape.ts";

/** Loads the code of a plugin package. What goes wrong is returned, not thrown: it matters only if the configuration needs the package. */
export async function loadPluginPackage(found: PluginPackage): Promise<PluginRegistration | PluginProblem> {
  const problem = (kind: PluginProblemKind, message: string, remedy: string): PluginProblem => ({
    kind,
    ...found,
    message,
    remedy,
  });
  const file = readPackageFile(found.directory) ?? {};
  const incompatibility = findIncompatibility(file, found.directory);
  if (incompatibility !== undefined) return { ...found, ...incompatibility };
  let exported: unknown;
  let commands: unknown;
  try {
    const module = (await import(entryOf(found, file))) as { readonly plugins?: unknown; readonly commands?: unknown };
    exported = module.plugins;
    commands = module.commands ?? [];
  } catch (error) {
    return isNativeFailure(error)
      ? problem(
          "build",
          `its native part cannot be used: ${firstLine(error).replace(/\.?$/, ".")}`,
          isCompiledHere(found, error)
            ? "Compile it: npx fms-accel build."
            : `Build it: npm rebuild ${found.packageName}.`,
        )
      : problem(
          "import",
          `it cannot be loaded: ${firstLine(error).replace(/\.?$/, ".")}`,
          "Install it again; if that does not help, its authors should know.",
        );
  }
  const fault = findShapeFault(exported, found.manifest) ?? findCommandFault(commands, found.manifest);
  if (fault !== undefined)
    return problem("manifest", fault, "This is for its authors to mend; another version of it may do.");
  return {
    ...found,
    plugins: exported as readonly AccelerationPlugin[],
    commands: commands as readonly CommandEntry[],
  };
}

/** The module of `entry`, by the package's own exports, so that the package manager's layout does not matter. */
function entryOf({ packageName, directory, manifest }: PluginPackage, { exports, main }: PackageFile): string {
  const base = pathToFileURL(join(directory, "package.json"));
  if (exports === undefined) {
    const file = manifest.entry === "." ? (typeof main === "string" ? main : "index.js") : manifest.entry;
    return pathToFileURL(join(directory, file)).href;
  }
  return moduleResolve(`${packageName}${manifest.entry.slice(1)}`, base, conditions()).href;
}

/** A program that runs from its sources takes plugins of the same workspace from theirs. */
function conditions(): Set<string> {
  const own = import.meta.url.endsWith(".ts") ? ["@fms-accel/source"] : [];
  return new Set(["node", "import", ...own]);
}

function isNativeFailure(error: unknown): boolean {
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown };
  return code === "ERR_DLOPEN_FAILED" || (typeof message === "string" && /\.node\b|build:native/.test(message));
}

/** Whether the sources of what is missing are there: those of the engine always are. */
function isCompiledHere({ directory }: PluginPackage, error: unknown): boolean {
  return existsSync(join(directory, "CMakeLists.txt")) || firstLine(error).includes("npx fms-accel build");
}

function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split("\n", 1)[0] ?? text;
}
