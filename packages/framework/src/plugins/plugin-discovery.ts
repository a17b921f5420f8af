import type { CommandEntry } from "../cli/main.ts";
import type { AccelerationPlugin } from "./acceleration-plugin.ts";
import type { PluginManifest } from "./plugin-manifest.ts";

/** A plugin package that can be used. */
export interface PluginRegistration {
  readonly packageName: string;
  readonly version: string;
  /** The package's folder; `undefined` for plugins that a program registers by itself. */
  readonly directory: string | undefined;
  readonly manifest: PluginManifest;
  readonly plugins: readonly AccelerationPlugin[];
  /** Commands of the command line that it adds. */
  readonly commands?: readonly CommandEntry[];
}

/**
 * - `missing`: a dependency of the project that is not installed
 * - `manifest`: its package.json, or what it exports, is not as declared
 * - `incompatible`: made for another version of the framework
 * - `build`: its native part is not there for this platform
 * - `import`: its code throws when it is loaded
 */
export type PluginProblemKind = "missing" | "manifest" | "incompatible" | "build" | "import";

/** A plugin package that cannot be used. It stops a run only if the configuration needs it. */
export interface PluginProblem {
  readonly kind: PluginProblemKind;
  readonly packageName: string;
  readonly version: string | undefined;
  readonly directory: string | undefined;
  /** What it would serve, as far as it is known. */
  readonly manifest: PluginManifest | undefined;
  /** What is wrong: one sentence. */
  readonly message: string;
  /** What to do about it: one sentence. */
  readonly remedy: string;
}

/** The plugin packages that a project depends on. */
export interface PluginDiscovery {
  /** Folder of the project's package.json; `undefined` when there is none. */
  readonly projectDirectory: string | undefined;
  /** In the order in which their plugins run. */
  readonly registrations: readonly PluginRegistration[];
  readonly problems: readonly PluginProblem[];
}
