import {
  camelCase,
  parseArguments,
  parseArgumentValue,
  type ArgumentDefinition,
  type ArgumentValues,
  type ParsedArguments,
  type RawArgument,
} from "@fms-accel/trainer";
import type { Invocation } from "../cli/command-definition.ts";
import { UsageError } from "../errors.ts";

/** The values of a command: its own flags, and those it shares with `train`. */
export interface InvocationValues<Own extends readonly ArgumentDefinition[]> {
  readonly own: ArgumentValues<Own>;
  readonly shared: ParsedArguments;
}

const saveNothing: RawArgument = { name: "save_strategy", value: "no", where: "save_strategy" };

/**
 * Reads the flags of a command. A row of `ownTable` wins over a shared one of the same name, so that a command may have another default.
 *
 * @throws ArgumentError for a value that is not of its flag's type or range
 */
export function readInvocation<const Own extends readonly ArgumentDefinition[]>(
  ownTable: Own,
  { flags }: Invocation,
): InvocationValues<Own> {
  const rows = new Map<string, ArgumentDefinition>(ownTable.map((row) => [row.name, row]));
  const own = new Map<string, unknown>(ownTable.map((row) => [row.name, row.default]));
  for (const { name, value, where } of flags) {
    const row = rows.get(name);
    if (row !== undefined) own.set(name, parseArgumentValue(row, value, where));
  }
  return {
    // Each value was parsed by the row that its type is made from.
    own: Object.fromEntries([...own].map(([name, value]) => [camelCase(name), value])) as ArgumentValues<Own>,
    // A command that does not train writes no checkpoints, so it needs no output_dir.
    shared: parseArguments([saveNothing, ...flags.filter(({ name }) => !rows.has(name))]),
  };
}

/**
 * The model's folder: the word after the command, or `--model_name_or_path`.
 *
 * @throws UsageError when there is none, or two
 */
export function modelFolder(invocation: Invocation, flag: string | null): string {
  const [word] = invocation.positionals;
  if (word !== undefined && flag !== null && word !== flag) {
    throw new UsageError(`two models are given: ${word}, and --model_name_or_path ${flag}. Give one.`);
  }
  const folder = word ?? flag;
  if (folder === null || folder === undefined) {
    throw new UsageError(
      `no model is given. ${swallowedModel(invocation) ?? "Put its folder after the command, or after --model_name_or_path."}`,
    );
  }
  return folder;
}

/** A flag that takes several words takes a model that stands behind them too: `--adapter out ./model`. */
function swallowedModel({ words, flags }: Invocation): string | undefined {
  const greedy = flags.find(({ value }) => Array.isArray(value) && value.length > 1);
  if (greedy === undefined) return undefined;
  const taken = greedy.value as readonly string[];
  return `${greedy.where} takes every word up to the next flag: ${taken.join(" and ")}. Put the model first: ${words[0]} MODEL ${greedy.where} ….`;
}
