import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { findPluginPackages } from "../plugins/find-plugin-packages.ts";

/** A package with native sources that are compiled on this machine. */
export interface NativePackage {
  readonly packageName: string;
  readonly version: string;
  readonly directory: string;
}

/** The engine, of the installation that this command belongs to. */
export function enginePackage(): NativePackage {
  const manifest = createRequire(import.meta.url).resolve("@fms-accel/tensor/package.json");
  const engine = nativePackageIn(dirname(manifest));
  if (engine === undefined) throw new Error(`${dirname(manifest)} has no native sources`);
  return engine;
}

/** The package in a folder, if it has native sources for cmake-js; a plugin may be of TypeScript alone. */
export function nativePackageIn(directory: string): NativePackage | undefined {
  if (!existsSync(join(directory, "CMakeLists.txt"))) return undefined;
  const manifest = JSON.parse(readFileSync(join(directory, "package.json"), "utf8")) as {
    name: string;
    version: string;
    binary?: { napi_versions?: unknown };
  };
  // Without Node-API versions cmake-js would download headers: such a package builds itself, not we.
  if (!Array.isArray(manifest.binary?.napi_versions)) return undefined;
  return { packageName: manifest.name, version: manifest.version, directory };
}

/** The engine and the plugins of the project in `folder` that have native sources, in the order in which they are compiled. */
export function nativePackages(folder: string): NativePackage[] {
  const plugins = findPluginPackages(folder).packages.map(({ directory }) => nativePackageIn(directory));
  return [enginePackage(), ...plugins.filter((native) => native !== undefined)];
}

/** Whether something was compiled; whether it is up to date, only a compilation shows. */
export function isCompiled({ directory }: NativePackage): boolean {
  const folder = join(directory, "build", "Release");
  return existsSync(folder) && readdirSync(folder).some((name) => name.endsWith(".node"));
}

/** The command line that compiles a package. Nothing is downloaded: Node-API's headers are a dependency of cmake-js. */
export function compileCommand({ directory }: NativePackage, jobs: number, afresh: boolean): string[] {
  const require = createRequire(join(directory, "package.json"));
  const cmake = join(dirname(require.resolve("cmake-js/package.json")), "bin", "cmake-js");
  const how = afresh ? "rebuild" : "build";
  return [process.execPath, cmake, how, "--CDCMAKE_BUILD_TYPE=Release", "--log-level", "warn", "--parallel", `${jobs}`];
}
