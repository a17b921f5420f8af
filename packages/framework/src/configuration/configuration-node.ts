/** A value of a configuration and where it was written: "framework.yaml:3:7", a flag, or a path in an object. */
export type ConfigurationNode = MappingNode | ListNode | ScalarNode;

export interface MappingNode {
  readonly kind: "mapping";
  readonly where: string;
  readonly entries: ReadonlyMap<string, MappingEntry>;
}

export interface MappingEntry {
  /** Where the key was written. */
  readonly keyWhere: string;
  readonly node: ConfigurationNode;
}

export interface ListNode {
  readonly kind: "list";
  readonly where: string;
  readonly items: readonly ConfigurationNode[];
}

export interface ScalarNode {
  readonly kind: "scalar";
  readonly where: string;
  readonly value: string | number | bigint | boolean | null;
}

/** Whether something stands here: anything but null. */
export function isPresent(node: ConfigurationNode | undefined): node is ConfigurationNode {
  return node !== undefined && !(node.kind === "scalar" && node.value === null);
}

/** The node below another by keys of mappings and indices of lists; `undefined` when there is none. */
export function nodeAt(
  node: ConfigurationNode | undefined,
  path: readonly PropertyKey[],
): ConfigurationNode | undefined {
  const [first, ...rest] = path;
  if (node === undefined || first === undefined) return node;
  if (node.kind === "mapping") return nodeAt(node.entries.get(String(first))?.node, rest);
  return node.kind === "list" ? nodeAt(node.items[Number(first)], rest) : undefined;
}

/**
 * The value as JavaScript has it.
 *
 * @param nulls "omit" leaves out the keys of mappings whose value is null, for which null means that nothing was given
 */
export function plainValue(node: ConfigurationNode, nulls: "keep" | "omit"): unknown {
  if (node.kind === "scalar") return node.value;
  if (node.kind === "list") return node.items.map((item) => plainValue(item, nulls));
  const result = {};
  for (const [key, { node: child }] of node.entries) {
    if (nulls === "omit" && !isPresent(child)) continue;
    // Defined, not assigned: "__proto__" is a key like others.
    const value = plainValue(child, nulls);
    Object.defineProperty(result, key, { value, enumerable: true, configurable: true, writable: true });
  }
  return result;
}

/** What a value is, in words of YAML. */
export function describeNode(node: ConfigurationNode): string {
  if (node.kind === "mapping") return node.entries.size === 0 ? "an empty mapping" : "a mapping";
  if (node.kind === "list") return "a list";
  return node.value === null
    ? "nothing"
    : typeof node.value === "string"
      ? JSON.stringify(node.value)
      : String(node.value);
}

/**
 * Puts a mapping over another: mappings are merged, everything else is replaced.
 *
 * @param onReplaced told of each value that gives way, with its path
 */
export function mergeMappings(
  base: MappingNode,
  over: MappingNode,
  onReplaced: (path: string, before: ConfigurationNode, after: ConfigurationNode) => void,
  path = "",
): MappingNode {
  const entries = new Map(base.entries);
  for (const [key, entry] of over.entries) {
    const before = entries.get(key);
    const at = path === "" ? key : `${path}.${key}`;
    if (before?.node.kind === "mapping" && entry.node.kind === "mapping") {
      entries.set(key, { ...before, node: mergeMappings(before.node, entry.node, onReplaced, at) });
      continue;
    }
    if (before !== undefined && isPresent(before.node)) onReplaced(at, before.node, entry.node);
    entries.set(key, entry);
  }
  return { ...base, entries };
}
