import type { CommandDefinition } from "../cli/command-definition.ts";
import { printLine, type Terminal } from "../cli/terminal.ts";
import { pluginCatalogue } from "../plugins/catalogue.ts";
import { discoverPlugins } from "../plugins/discover-plugins.ts";
import type { PluginDiscovery } from "../plugins/plugin-discovery.ts";

/** A line of the list. */
export interface ListedPlugin {
  readonly packageName: string;
  readonly shortname: string;
  /** `undefined`: not installed. */
  readonly version: string | undefined;
  /** A plugin of this project that has no package yet. */
  readonly isMissing: boolean;
  /** Why an installed one cannot be used, and what to do. */
  readonly problem?: { readonly message: string; readonly remedy: string };
}

export const pluginsCommand: CommandDefinition = {
  positionals: [],
  groups: [
    { heading: "Flags", rows: [{ name: "json", type: "boolean", default: false, help: "Print one JSON array." }] },
  ],
  examples: ["fms-accel plugins"],

  async run({ flags }, terminal): Promise<number> {
    const list = listPlugins(await discoverPlugins());
    if (flags.some(({ name, value }) => name === "json" && value !== "false")) {
      printLine(terminal.output, JSON.stringify(list, null, 2));
    } else printPlugins(list, terminal);
    return 0;
  },
};

/** This project's plugins, installed or not, then those of others that the project depends on. */
export function listPlugins({ registrations, problems }: PluginDiscovery): ListedPlugin[] {
  const listed = new Map<string, ListedPlugin>(
    pluginCatalogue.map(({ packageName, shortname, isAvailable }) => [
      packageName,
      { packageName, shortname, version: undefined, isMissing: !isAvailable },
    ]),
  );
  for (const { packageName, version, manifest } of registrations) {
    listed.set(packageName, { packageName, shortname: manifest.shortname, version, isMissing: false });
  }
  for (const { packageName, version, manifest, message, remedy } of problems) {
    const shortname = manifest?.shortname ?? packageName;
    listed.set(packageName, { packageName, shortname, version, isMissing: false, problem: { message, remedy } });
  }
  return [...listed.values()];
}

/** As the original prints it, with versions. */
export function printPlugins(list: readonly ListedPlugin[], { output, colors }: Terminal): void {
  printLine(output, "\nChoose from the list of plugin shortnames, and do:");
  printLine(output, " * 'fms-accel install <package-manager-flags> PLUGIN_NAME'.");
  printLine(output, "\nList of PLUGIN_NAME [PLUGIN_SHORTNAME]:\n");
  for (const [at, { packageName, shortname, version, isMissing, problem }] of list.entries()) {
    const installed = version === undefined ? "" : colors.green(` (installed) ${version}`);
    const mark = isMissing ? colors.yellow(" (not available yet)") : installed;
    printLine(output, `${at + 1}. ${packageName} [${shortname}]${mark}`);
    if (problem !== undefined) printLine(output, colors.red(`   cannot be used: ${problem.message} ${problem.remedy}`));
  }
}
