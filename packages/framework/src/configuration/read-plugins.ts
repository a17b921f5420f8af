import { didYouMean } from "../cli/suggestions.ts";
import { ConfigurationError } from "../errors.ts";
import type { AccelerationPlugin } from "../plugins/acceleration-plugin.ts";
import { activePaths } from "../plugins/activation.ts";
import { howToAdd } from "../plugins/catalogue.ts";
import type { PluginProblem, PluginRegistration } from "../plugins/plugin-discovery.ts";
import { describeNode, isPresent, nodeAt, type ConfigurationNode, type MappingNode } from "./configuration-node.ts";
import { readSection } from "./section-errors.ts";
import { sectionTree, type SectionTree } from "./section-tree.ts";

/** A plugin that the configuration asks for, with its sections. */
export interface ConfiguredPlugin {
  readonly registration: PluginRegistration;
  readonly plugin: AccelerationPlugin;
  readonly configuration: Readonly<Record<string, unknown>>;
}

/**
 * Reads the mapping `plugins` of a configuration: which plugins are active, and their sections, checked.
 *
 * @returns in the order of registration
 * @throws ConfigurationError with a line for everything that is wrong; PluginError when plugins contradict each other
 */
export function readPlugins(
  body: MappingNode,
  registrations: readonly PluginRegistration[],
  problems: readonly PluginProblem[],
): ConfiguredPlugin[] {
  const reader = new SectionReader();
  reader.visit(body, sectionTree(registrations, problems));
  const hasPath = (path: string): boolean => isPresent(nodeAt(body, path.split(".")));
  const configured: ConfiguredPlugin[] = [];
  for (const registration of registrations) {
    for (const plugin of registration.plugins) {
      const configuration = sectionsOf(plugin, reader.sections);
      if (activePaths(plugin.paths, hasPath).length > 0) configured.push({ registration, plugin, configuration });
      else reader.errors.push(...Object.keys(configuration).map((path) => idleSection(plugin, path, body, hasPath)));
    }
  }
  if (reader.errors.length > 0) throw new ConfigurationError(reader.errors);
  return configured;
}

class SectionReader {
  readonly sections = new Map<string, unknown>();
  readonly errors: string[] = [];

  visit(node: ConfigurationNode, tree: SectionTree): void {
    if (!isPresent(node)) return;
    const { owner, path, children } = tree;
    if (owner?.kind === "plugin") {
      const { value, errors } = readSection(owner.schema, node, path);
      this.sections.set(path, value);
      this.errors.push(...errors);
    } else if (owner !== undefined) this.errors.push(`${node.where}: ${unserved(path, owner)}`);
    else if (node.kind !== "mapping") {
      const expected = children.size === 0 ? "a mapping" : `a mapping of ${[...children.keys()].join(", ")}`;
      this.errors.push(`${node.where}: ${path}: expected ${expected}; found ${describeNode(node)}.`);
    } else {
      for (const [key, entry] of node.entries) {
        const child = children.get(key);
        if (child !== undefined) this.visit(entry.node, child);
        else this.errors.push(`${entry.keyWhere}: ${unknownSection(key, tree)}`);
      }
    }
  }
}

function unserved(path: string, owner: Exclude<SectionTree["owner"], undefined | { kind: "plugin" }>): string {
  if (owner.kind === "absent") return `${path} is served by ${owner.entry.packageName}, ${howToAdd(owner.entry)}`;
  const { packageName, version, message, remedy } = owner.problem;
  return `${path} is served by ${packageName}${version === undefined ? "" : ` ${version}`}, which cannot be used: ${message} ${remedy}`;
}

function unknownSection(key: string, { path, children }: SectionTree): string {
  const at = path === "" ? key : `${path}.${key}`;
  const known = [...children.keys()];
  const near = didYouMean(key, known);
  const names = known.length === 0 ? "" : ` Known here: ${known.join(", ")}.`;
  return `no installed plugin serves ${at}.${near === "" ? `${names} Add the package that brings the plugin, or remove the key.` : near}`;
}

function sectionsOf({ schemas }: AccelerationPlugin, sections: ReadonlyMap<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.keys(schemas).flatMap((path) => (sections.has(path) ? [[path, sections.get(path)]] : [])),
  );
}

/** A section whose plugin is not active would be passed over without a word. */
function idleSection(
  { name, paths: { allOf = [], anyOf = [] } }: AccelerationPlugin,
  path: string,
  body: MappingNode,
  hasPath: (path: string) => boolean,
): string {
  const missing = allOf.filter((other) => !hasPath(other));
  const wanted = [missing.join(" and "), ...anyOf].filter((text) => text !== "").join(", or ");
  const where = nodeAt(body, path.split("."))?.where ?? body.where;
  return `${where}: ${path} has no effect: ${name} also needs ${wanted}.`;
}
