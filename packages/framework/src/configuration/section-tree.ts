import type { z } from "zod";
import { PluginError } from "../errors.ts";
import type { AccelerationPlugin } from "../plugins/acceleration-plugin.ts";
import { pluginCatalogue, type CataloguedPackage } from "../plugins/catalogue.ts";
import type { PluginProblem, PluginRegistration } from "../plugins/plugin-discovery.ts";

/** Who a section belongs to. */
export type SectionOwner =
  | { readonly kind: "plugin"; readonly plugin: AccelerationPlugin; readonly schema: z.ZodType }
  /** Installed, but not usable. */
  | { readonly kind: "problem"; readonly problem: PluginProblem }
  | { readonly kind: "absent"; readonly entry: CataloguedPackage };

/** The sections that a configuration may have, by the names of their paths. */
export interface SectionTree {
  /** From `plugins` on; empty for `plugins` itself. */
  readonly path: string;
  readonly children: Map<string, SectionTree>;
  owner: SectionOwner | undefined;
}

/**
 * What may stand in a configuration: the sections of installed plugins, of packages that cannot be used, and of this project's packages
 * that are not installed.
 *
 * @throws PluginError when two plugins want the same section, or one inside of another's
 */
export function sectionTree(
  registrations: readonly PluginRegistration[],
  problems: readonly PluginProblem[],
): SectionTree {
  const root: SectionTree = { path: "", children: new Map(), owner: undefined };
  for (const { plugins } of registrations) {
    for (const plugin of plugins) {
      for (const [path, schema] of Object.entries(plugin.schemas))
        claim(root, path, { kind: "plugin", plugin, schema });
      for (const path of [...(plugin.paths.allOf ?? []), ...(plugin.paths.anyOf ?? [])]) grow(root, path);
    }
  }
  for (const problem of problems) {
    for (const path of problem.manifest?.paths ?? []) offer(root, path, { kind: "problem", problem });
  }
  for (const entry of pluginCatalogue) {
    for (const path of entry.paths) offer(root, path, { kind: "absent", entry });
  }
  return root;
}

/** The tree down to a path. */
function grow(root: SectionTree, path: string): SectionTree[] {
  const way = [root];
  for (const name of path.split(".")) {
    const above = way[way.length - 1] as SectionTree;
    const at = above.path === "" ? name : `${above.path}.${name}`;
    const next = above.children.get(name) ?? { path: at, children: new Map(), owner: undefined };
    above.children.set(name, next);
    way.push(next);
  }
  return way;
}

function claim(root: SectionTree, path: string, owner: SectionOwner & { readonly kind: "plugin" }): void {
  const way = grow(root, path);
  const section = way[way.length - 1] as SectionTree;
  const other = way.find((step) => step.owner !== undefined) ?? ownedBelow(section);
  if (other?.owner?.kind === "plugin") {
    throw new PluginError(
      `${owner.plugin.name} wants the section ${path}, and ${other.owner.plugin.name} has ${other.path}. ` +
        "A section belongs to one plugin: remove one of the two.",
    );
  }
  section.owner = owner;
}

/** For a section that nobody serves: it gives way to plugins. */
function offer(root: SectionTree, path: string, owner: SectionOwner): void {
  let step: SectionTree | undefined = root;
  for (const name of path.split(".")) {
    step = step?.children.get(name);
    if (step?.owner !== undefined) return;
  }
  const section = grow(root, path).at(-1) as SectionTree;
  if (ownedBelow(section) === undefined) section.owner = owner;
}

function ownedBelow(tree: SectionTree): SectionTree | undefined {
  for (const child of tree.children.values()) {
    const found = child.owner === undefined ? ownedBelow(child) : child;
    if (found !== undefined) return found;
  }
  return undefined;
}
