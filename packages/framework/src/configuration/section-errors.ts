import type { z } from "zod";
import { didYouMean } from "../cli/suggestions.ts";
import { describeNode, nodeAt, plainValue, type ConfigurationNode } from "./configuration-node.ts";
import { jsonSchemaOf, knownKeys, schemaBelow, type JsonSchema } from "./json-schema.ts";

type Issue = z.core.$ZodIssue;

/** A section that was read, or what is wrong with it: one line each, with where it stands. */
export type SectionResult =
  | { readonly value: unknown; readonly errors: readonly never[] }
  | { readonly value: undefined; readonly errors: readonly string[] };

/** Reads a section by its schema. Keys that the schema does not know are errors, also where the schema would pass them over. */
export function readSection(schema: z.ZodType, node: ConfigurationNode, path: string): SectionResult {
  const errors = unknownKeys(node, jsonSchemaOf(schema));
  const parsed = parse(schema, plainValue(node, "omit"));
  if ("data" in parsed) return errors.length === 0 ? { value: parsed.data, errors: [] } : { value: undefined, errors };
  for (const issue of parsed.issues.flatMap(simplify)) {
    if (issue.code !== "unrecognized_keys") errors.push(describeIssue(issue, node, path));
    else if (errors.length === 0) errors.push(`${node.where}: ${path}: ${issue.message}.`);
  }
  return { value: undefined, errors };
}

/** A schema's own code may fail too; that is a fault of the value that it was given. */
function parse(schema: z.ZodType, value: unknown): { readonly data: unknown } | { readonly issues: readonly Issue[] } {
  try {
    const { success, data, error } = schema.safeParse(value);
    return success ? { data } : { issues: error.issues };
  } catch (error) {
    return { issues: [{ code: "custom", path: [], message: (error as Error).message, input: value }] };
  }
}

function unknownKeys(node: ConfigurationNode, schema: JsonSchema): string[] {
  if (node.kind === "list") return node.items.flatMap((item, index) => unknownKeys(item, schemaBelow(schema, index)));
  if (node.kind !== "mapping") return [];
  const known = knownKeys(schema);
  return [...node.entries].flatMap(([key, entry]) =>
    known === undefined || known.includes(key)
      ? unknownKeys(entry.node, schemaBelow(schema, key))
      : [`${entry.keyWhere}: unknown key "${key}".${suggestion(key, known)}`],
  );
}

function suggestion(key: string, known: readonly string[]): string {
  const near = didYouMean(key, known);
  if (near !== "") return near;
  return known.length === 0 ? " Nothing may stand here." : ` Known here: ${known.join(", ")}.`;
}

/** Of a union, the form that was meant: the one whose fault lies deepest; where all fail at once, they are one fault. */
function simplify(issue: Issue): Issue[] {
  if (issue.code !== "invalid_union" || issue.errors.length === 0) return [issue];
  const depth = (issues: readonly Issue[]): number => Math.max(...issues.map(({ path }) => path.length));
  const deepest = issue.errors.toSorted((a, b) => depth(b) - depth(a))[0] ?? [];
  if (depth(deepest) > 0)
    return deepest.flatMap(simplify).map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] }));
  const expected = issue.errors.flatMap((issues) => issues.map(expectation).filter((text) => text !== undefined));
  return [{ ...issue, message: `expected ${[...new Set(expected)].join(" or ")}` }];
}

function describeIssue(issue: Issue, section: ConfigurationNode, path: string): string {
  const found = nodeAt(section, issue.path);
  const at = [path, ...issue.path.map(String)].join(".");
  const expected = expectation(issue);
  if (found === undefined || (found.kind === "scalar" && found.value === null)) {
    const { where } = deepest(section, issue.path);
    return `${where}: ${at} is missing${expected === undefined ? "" : `: expected ${expected}`}.`;
  }
  const message = expected === undefined ? issue.message : `expected ${expected}`;
  return `${found.where}: ${at}: ${message}; found ${describeNode(found)}.${nearValue(issue, found)}`;
}

/** What should stand there; `undefined` where zod's own words say it. */
function expectation(issue: Issue): string | undefined {
  if (issue.code === "invalid_type") return TYPE_NAMES[issue.expected] ?? issue.expected;
  if (issue.code !== "invalid_value") return undefined;
  return issue.values.length === 1 ? String(issue.values[0]) : `one of ${issue.values.map(String).join(", ")}`;
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  boolean: "true or false",
  number: "a number",
  int: "a whole number",
  string: "a text",
  object: "a mapping",
  record: "a mapping",
  array: "a list",
};

function nearValue(issue: Issue, found: ConfigurationNode): string {
  if (issue.code !== "invalid_value" || found.kind !== "scalar") return "";
  return didYouMean(String(found.value), issue.values.map(String));
}

/** The last node on the way to a value that is missing. */
function deepest(node: ConfigurationNode, path: readonly PropertyKey[]): ConfigurationNode {
  for (let length = path.length; length > 0; length--) {
    const found = nodeAt(node, path.slice(0, length));
    if (found !== undefined) return found;
  }
  return node;
}
