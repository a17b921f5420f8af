import { ConfigurationError } from "../errors.ts";
import type { ConfigurationNode, MappingEntry } from "./configuration-node.ts";

/**
 * A configuration that a program gives as an object; places are paths in it.
 *
 * @throws ConfigurationError for what a YAML file could not hold: functions, class instances, cycles
 */
export function nodeOfObject(value: unknown, where: string, above: readonly unknown[] = []): ConfigurationNode {
  if (value === undefined || value === null) return { kind: "scalar", where, value: null };
  switch (typeof value) {
    case "string":
    case "number":
    case "bigint":
    case "boolean":
      return { kind: "scalar", where, value };
    case "object":
      break;
    default:
      throw new ConfigurationError(`${where}: expected a value that YAML has, found a ${typeof value}.`);
  }
  if (above.includes(value)) throw new ConfigurationError(`${where}: the object contains itself.`);
  const around = [...above, value];
  if (Array.isArray(value)) {
    return { kind: "list", where, items: value.map((item, index) => nodeOfObject(item, `${where}[${index}]`, around)) };
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null)
    throw new ConfigurationError(`${where}: expected a plain object, found one of class ${value.constructor.name}.`);
  const entries = new Map<string, MappingEntry>();
  for (const [key, item] of Object.entries(value)) {
    const at = `${where}.${key}`;
    entries.set(key, { keyWhere: at, node: nodeOfObject(item, at, around) });
  }
  return { kind: "mapping", where, entries };
}
