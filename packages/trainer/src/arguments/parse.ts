import { ArgumentError } from "../errors.ts";
import { camelCase, type ArgumentDefinition, type ArgumentValues, type InertArgumentDefinition } from "./definition.ts";
import { closestName } from "./did-you-mean.ts";
import { dataArgumentTable, modelArgumentTable, peftArgumentTable } from "./group-tables.ts";
import {
  argumentTables,
  type ArgumentGroup,
  type DataArguments,
  type ModelArguments,
  type PeftArguments,
  type TrainingArguments,
  type TrainingArgumentsInput,
} from "./groups.ts";
import { inertArgumentTable } from "./inert-table.ts";
import { parseArgumentValue, parseTyped } from "./parse-value.ts";
import { settleTrainingArguments } from "./settle.ts";
import { trainingArgumentTable } from "./training-table.ts";

/** One argument as it was written, in snake_case. `where` names the place in errors: `--learning_rate` or `train.yaml:3:1 learning_rate`. */
export interface RawArgument {
  readonly name: string;
  /** Text, a list of texts, `true` for a bare flag, or a typed value of a YAML file. */
  readonly value: unknown;
  readonly where: string;
}

/** An argument that was given, is known, and has no effect. */
export interface IgnoredArgument {
  readonly name: string;
  readonly where: string;
  readonly reason: string;
}

export interface ParsedArguments {
  readonly model: ModelArguments;
  readonly data: DataArguments;
  readonly peft: PeftArguments;
  readonly training: TrainingArguments;
  readonly ignored: readonly IgnoredArgument[];
  /** What was concluded from the given arguments, one sentence each; to be shown. */
  readonly notes: readonly string[];
}

/**
 * Reads arguments of a command line, a YAML file or both; of an argument given twice the later one counts, so flags go after the file.
 *
 * @throws ArgumentError for an unknown name (with the nearest known one), a wrong value, arguments that contradict each other, and arguments
 *   of the originals that would change the result but are not supported
 */
export function parseArguments(raw: Iterable<RawArgument>): ParsedArguments {
  const given: Record<ArgumentGroup, Map<string, unknown>> = {
    model: new Map(),
    data: new Map(),
    peft: new Map(),
    training: new Map(),
  };
  const ignored = new Map<string, IgnoredArgument>();
  for (const argument of raw) {
    const found = findArgument(argument.name);
    if (found === undefined) throw unknownArgument(argument);
    const value = found.negated ? !parseTyped("boolean", argument.value, argument.where) : argument.value;
    if ("inert" in found) {
      const reason = inertReason(found.inert, value, argument.where);
      if (reason !== undefined)
        ignored.set(found.inert.name, { name: found.inert.name, where: argument.where, reason });
    } else if (value !== null && value !== undefined) {
      given[found.group].set(found.definition.name, parseArgumentValue(found.definition, value, argument.where));
    }
  }
  const { training, notes } = settleTrainingArguments(
    withDefaults(trainingArgumentTable, given.training),
    new Set(given.training.keys()),
  );
  return {
    model: withDefaults(modelArgumentTable, given.model),
    data: withDefaults(dataArgumentTable, given.data),
    peft: withDefaults(peftArgumentTable, given.peft),
    training,
    ignored: [...ignored.values()],
    notes,
  };
}

/**
 * Fills in the defaults of what a program gives in camelCase, and checks it as `parseArguments` does.
 *
 * @throws ArgumentError
 */
export function resolveTrainingArguments(input: TrainingArgumentsInput): {
  training: TrainingArguments;
  notes: readonly string[];
} {
  const definitions: ReadonlyMap<string, ArgumentDefinition> = new Map(
    trainingArgumentTable.map((row) => [camelCase(row.name), row]),
  );
  const given = new Map<string, unknown>();
  for (const [key, value] of Object.entries(input)) {
    const definition = definitions.get(key);
    if (definition === undefined) {
      const near = closestName(key, definitions.keys());
      throw new ArgumentError(
        `${key}: no such training argument.${near === undefined ? "" : ` Did you mean ${near}?`}`,
      );
    }
    if (value !== null && value !== undefined) given.set(definition.name, parseArgumentValue(definition, value, key));
  }
  return settleTrainingArguments(withDefaults(trainingArgumentTable, given), new Set(given.keys()));
}

/** One line for all ignored arguments, or `undefined` when there are none. */
export function describeIgnoredArguments(ignored: readonly IgnoredArgument[]): string | undefined {
  if (ignored.length === 0) return undefined;
  const each = ignored.map(({ name, reason }) => `${name} ignored because ${reason}`).join("; ");
  return `${ignored.length} argument${ignored.length === 1 ? " has" : "s have"} no effect: ${each}.`;
}

type Found = { readonly negated: boolean } & (
  | { readonly group: ArgumentGroup; readonly definition: ArgumentDefinition }
  | { readonly inert: InertArgumentDefinition }
);

/** By name or alias; `no_x` is the complement of a boolean `x` that defaults to true. */
function findArgument(name: string): Found | undefined {
  const positive = name.startsWith("no_") ? name.slice(3) : undefined;
  for (const group of Object.keys(argumentTables) as ArgumentGroup[]) {
    for (const definition of argumentTables[group]) {
      if (definition.name === name || definition.aliases?.includes(name) === true)
        return { negated: false, group, definition };
      if (definition.name === positive && definition.default === true) return { negated: true, group, definition };
    }
  }
  for (const inert of inertArgumentTable) {
    if (inert.name === name) return { negated: false, inert };
    if (inert.name === positive && inert.type === "boolean" && inert.default === true) return { negated: true, inert };
  }
  return undefined;
}

function unknownArgument({ name, where }: RawArgument): ArgumentError {
  const near = closestName(name, argumentNames());
  return new ArgumentError(`${where}: no such argument.${near === undefined ? "" : ` Did you mean ${near}?`}`);
}

/** Every name that `parseArguments` knows, aliases and inert arguments included. */
export function argumentNames(): readonly string[] {
  const active = Object.values(argumentTables).flatMap((table) =>
    table.flatMap((row) => [row.name, ...(row.aliases ?? [])]),
  );
  return [...active, ...inertArgumentTable.map((row) => row.name)];
}

/** Why a given inert argument is ignored; `undefined` when it asks for nothing. */
function inertReason(inert: InertArgumentDefinition, value: unknown, where: string): string | undefined {
  if (value === null || value === undefined || value === "None") return undefined;
  // Hugging Face's `*_config` arguments take an object, or the path of a JSON file that holds it.
  const isPath = inert.type === "json" && typeof value === "string" && !/^\s*[{[]/.test(value);
  const parsed = isPath ? value : parseTyped(inert.type, value, where);
  if (JSON.stringify(parsed) === JSON.stringify(inert.default)) return undefined;
  if (inert.unsupported !== undefined) throw new ArgumentError(`${where}: not supported: ${inert.unsupported}.`);
  return inert.ignored;
}

function withDefaults<const Table extends readonly ArgumentDefinition[]>(
  table: Table,
  given: ReadonlyMap<string, unknown>,
): ArgumentValues<Table> {
  const entries = table.map((row) => [camelCase(row.name), given.has(row.name) ? given.get(row.name) : row.default]);
  // Each value was parsed by the row that its type is made from.
  return Object.fromEntries(entries) as ArgumentValues<Table>;
}
