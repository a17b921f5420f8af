import type { ConfiguredPlugin } from "../configuration/read-plugins.ts";
import { PluginError } from "../errors.ts";

/** Classes of errors that say nothing to a user about what to do. */
const FAULTS = [Error, TypeError, RangeError, ReferenceError, SyntaxError];

/**
 * What a hook of a plugin has thrown, as it is to go on: errors that are meant for the user stay, faults of the plugin's own code name it.
 *
 * @param where the configuration asks for the plugin
 * @param hook what was called: "augment"
 */
export function namePluginFault(
  {
    plugin,
    registration: { packageName, version },
    where,
  }: Pick<ConfiguredPlugin, "plugin" | "registration"> & { readonly where: string },
  hook: string,
  error: unknown,
): unknown {
  if (error instanceof Error && !FAULTS.some((kind) => error.constructor === kind)) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new PluginError(
    `${where}: ${plugin.name} of ${packageName} ${version} fails in ${hook}: ${message.replace(/\.?$/, ".")} ` +
      "This is for its authors to mend; another version of it may do, or leave its section out.",
    { cause: error },
  );
}
