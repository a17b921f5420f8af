import { isPresent, nodeAt, type MappingNode } from "../configuration/configuration-node.ts";
import { locate } from "../configuration/assemble.ts";
import { readPlugins, type ConfiguredPlugin } from "../configuration/read-plugins.ts";
import { ConfigurationError } from "../errors.ts";
import type { PluginContext, PluginHooks } from "./acceleration-plugin.ts";
import { checkRequirements } from "./check-requirements.ts";
import type { PluginDiscovery } from "./plugin-discovery.ts";
import { namePluginFault } from "./plugin-fault.ts";
import { orderPlugins } from "./plugin-order.ts";

/** A plugin that is at work. */
export interface ActivePlugin extends ConfiguredPlugin {
  readonly hooks: PluginHooks;
  /** Where the configuration asks for it. */
  readonly where: string;
}

export interface ActivationOptions extends Pick<PluginContext, "communicator" | "say"> {
  readonly checkPackages: boolean;
}

/**
 * Activates the plugins that a configuration asks for.
 *
 * @returns in the order in which they run
 * @throws ConfigurationError, PluginError
 */
export async function activatePlugins(
  body: MappingNode,
  { registrations, problems }: Pick<PluginDiscovery, "registrations" | "problems">,
  { checkPackages, communicator, say }: ActivationOptions,
): Promise<ActivePlugin[]> {
  const configured = orderPlugins(withoutRepeats(readPlugins(body, registrations, problems), say));
  if (configured.length === 0)
    throw new ConfigurationError(
      `${body.where}: no plugin is configured here. Add a section, or leave the configuration out.`,
    );
  const context: PluginContext = {
    communicator,
    say,
    isConfigured: (path) => isPresent(nodeAt(body, path.split("."))),
    locate: (path) => locate(body, path),
  };
  const active: ActivePlugin[] = [];
  for (const entry of configured) {
    const { plugin, registration, configuration } = entry;
    await checkRequirements(plugin, registration.directory ?? process.cwd(), checkPackages);
    const path = Object.keys(configuration)[0] ?? plugin.paths.allOf?.[0] ?? plugin.paths.anyOf?.[0] ?? "";
    const located = { ...entry, where: locate(body, path) };
    try {
      active.push({ ...located, hooks: await plugin.activate(configuration, context) });
    } catch (error) {
      throw namePluginFault(located, "activate", error);
    }
  }
  checkLoaders(active);
  return active;
}

/** A plugin that is registered twice runs once. */
function withoutRepeats(entries: readonly ConfiguredPlugin[], say: (line: string) => void): ConfiguredPlugin[] {
  const kept = new Map<string, ConfiguredPlugin>();
  for (const entry of entries) {
    const { name } = entry.plugin;
    const first = kept.get(name);
    if (first === undefined) kept.set(name, entry);
    else
      say(
        `${name} of ${entry.registration.packageName} is left out: ${first.registration.packageName} brings it already.`,
      );
  }
  return [...kept.values()];
}

function checkLoaders(active: readonly ActivePlugin[]): void {
  const [first, second] = active.filter(({ hooks }) => hooks.loadModel !== undefined);
  if (first === undefined || second === undefined) return;
  throw new ConfigurationError(
    `${second.where}: ${second.plugin.name} opens the model, and so does ${first.plugin.name} (${first.where}). ` +
      "One plugin at most can: remove one of the two sections.",
  );
}
