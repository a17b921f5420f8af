import type { RawArgument } from "@fms-accel/trainer";
import type { FlagGroup, FlagRow } from "../cli/flag-table.ts";
import type { PluginOption } from "../plugins/acceleration-plugin.ts";
import { pluginCatalogue } from "../plugins/catalogue.ts";
import type { PluginDiscovery } from "../plugins/plugin-discovery.ts";

const fileRow: FlagRow = {
  name: "acceleration_framework_config_file",
  type: "string",
  default: null,
  help: "YAML file of plugins and their settings; flags of plugins win over it.",
};

/** The flags of a project's plugins. Those of plugins that are not there are accepted, so that they can be refused by name. */
export function pluginFlagGroups({ registrations, problems }: PluginDiscovery): FlagGroup[] {
  const options = registrations.flatMap(({ plugins }) => plugins.flatMap((plugin) => plugin.options ?? []));
  const served = new Set(options.map(({ name }) => name));
  const known = [
    ...problems.flatMap(({ manifest }) => manifest?.options ?? []),
    ...pluginCatalogue.flatMap((entry) => entry.options),
  ];
  const unserved = [...new Set(known)].filter((name) => !served.has(name));
  return [
    { heading: "Acceleration", rows: [fileRow, ...options.map(optionRow)] },
    { heading: undefined, rows: unserved.map((name) => ({ name, type: "strings", default: null })) },
  ];
}

function optionRow({ name, help, values, standsAlone = false }: PluginOption): FlagRow {
  const words = values.map((row) => {
    const allowed = row.choices === undefined ? row.name : `${row.name}: ${row.choices.join(" | ")}`;
    return row.default === null ? allowed : `${allowed} = ${JSON.stringify(row.default)}`;
  });
  return {
    name,
    type: "strings",
    default: null,
    help: words.length === 0 ? help : `${help} Values: ${words.join("; ")}.`,
    standsAlone,
    offered: values[0]?.choices ?? (values[0]?.type === "boolean" ? ["True", "False"] : []),
  };
}

/** What `train` was told of plugins. */
export interface AccelerationArguments {
  readonly configuration: string | undefined;
  /** Flags of plugins, also of those that are not there. */
  readonly arguments: readonly RawArgument[];
}

/** Takes the arguments of plugins out of all that were given. */
export function splitAcceleration(
  raw: readonly RawArgument[],
  groups: readonly FlagGroup[],
): { readonly acceleration: AccelerationArguments; readonly rest: readonly RawArgument[] } {
  const names = new Set(groups.flatMap(({ rows }) => rows.map(({ name }) => name)));
  const own = raw.filter(({ name }) => names.has(name));
  const file = own.findLast(({ name }) => name === fileRow.name)?.value;
  // A flag of the command line comes after the same one of a file of arguments, and wins over it.
  const flags = new Map(own.filter(({ name }) => name !== fileRow.name).map((argument) => [argument.name, argument]));
  return {
    acceleration: { configuration: typeof file === "string" ? file : undefined, arguments: [...flags.values()] },
    rest: raw.filter(({ name }) => !names.has(name)),
  };
}
