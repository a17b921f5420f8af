import { z } from "zod";
import type { PluginProblem, PluginRegistration } from "../plugins/plugin-discovery.ts";
import { sectionTree, type SectionTree } from "./section-tree.ts";

/** The parts of a JSON schema (https://json-schema.org/draft/2020-12) that are read here. */
export interface JsonSchema {
  readonly [keyword: string]: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: boolean | JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly items?: JsonSchema;
}

/** The JSON schema of what may be written for a zod schema. */
export function jsonSchemaOf(schema: z.ZodType): JsonSchema {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: "input", unrepresentable: "any", cycles: "ref" });
  return rest as JsonSchema;
}

/**
 * The JSON schema of the configuration file for these plugins: an editor that knows it completes and checks while one writes
 * (`# yaml-language-server: $schema=…` on the first line).
 */
export function configurationJsonSchema(registrations: readonly PluginRegistration[]): JsonSchema {
  const noProblems: readonly PluginProblem[] = [];
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "Acceleration framework configuration",
    type: "object",
    properties: { plugins: schemaOfTree(sectionTree(registrations, noProblems)) ?? { type: "object" } },
    required: ["plugins"],
    additionalProperties: false,
  };
}

/** `undefined` where no installed plugin has a section. */
function schemaOfTree({ owner, children }: SectionTree): JsonSchema | undefined {
  if (owner?.kind === "plugin")
    return { description: owner.plugin.description, anyOf: [jsonSchemaOf(owner.schema), { type: "null" }] };
  if (owner !== undefined) return undefined;
  const properties: Record<string, JsonSchema> = {};
  for (const [name, child] of children) {
    const schema = schemaOfTree(child);
    if (schema !== undefined) properties[name] = schema;
  }
  if (Object.keys(properties).length === 0) return undefined;
  return { type: ["object", "null"], properties, additionalProperties: false };
}

/** The names that a mapping may have by its schema; `undefined` when it may have any. */
export function knownKeys(schema: JsonSchema): string[] | undefined {
  const { anyOf, additionalProperties, properties } = schema;
  if (anyOf !== undefined) {
    const each = anyOf.filter((branch) => branch["type"] !== "null").map(knownKeys);
    return each.includes(undefined) ? undefined : each.flatMap((names) => names ?? []);
  }
  if (properties === undefined || (additionalProperties !== undefined && additionalProperties !== false))
    return undefined;
  return Object.keys(properties);
}

/** The schema of what stands at a key or index; what no schema says is open to anything. */
export function schemaBelow(schema: JsonSchema, key: PropertyKey): JsonSchema {
  if (schema.anyOf !== undefined) {
    return {
      anyOf: schema.anyOf.filter((branch) => branch["type"] !== "null").map((branch) => schemaBelow(branch, key)),
    };
  }
  if (typeof key === "number") return schema.items ?? {};
  const own = Object.hasOwn(schema.properties ?? {}, key) ? schema.properties?.[String(key)] : undefined;
  return own ?? (typeof schema.additionalProperties === "object" ? schema.additionalProperties : {});
}
