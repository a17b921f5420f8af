import { PluginError } from "../errors.ts";
import type { AccelerationPlugin } from "./acceleration-plugin.ts";

export interface Orderable {
  readonly plugin: AccelerationPlugin;
  readonly registration: { readonly packageName: string };
}

/**
 * Puts every plugin after those that it names in `after`; otherwise the order stays.
 *
 * @throws PluginError when plugins want to run after each other
 */
export function orderPlugins<Entry extends Orderable>(entries: readonly Entry[]): Entry[] {
  const ordered: Entry[] = [];
  const visit = (entry: Entry, way: readonly Entry[]): void => {
    if (ordered.includes(entry)) return;
    if (way.includes(entry)) {
      const names = [...way.slice(way.indexOf(entry)), entry].map(({ plugin }) => plugin.name);
      throw new PluginError(`Plugins that want to run after each other: ${names.join(" after ")}.`);
    }
    const { after = [] } = entry.plugin;
    for (const other of entries) {
      const named = after.includes(other.plugin.name) || after.includes(other.registration.packageName);
      if (named && other !== entry) visit(other, [...way, entry]);
    }
    ordered.push(entry);
  };
  for (const entry of entries) visit(entry, []);
  return ordered;
}
