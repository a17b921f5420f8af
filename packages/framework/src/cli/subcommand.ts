import { Command, Option } from "commander";
import type { RawArgument } from "@fms-accel/trainer";
import { UsageError } from "../errors.ts";
import type { CommandDefinition, Invocation } from "./command-definition.ts";
import { arityOf, describeRow, hasComplement, spellingsOf, type FlagRow } from "./flag-table.ts";

/**
 * The words of a command line with every flag in its own spelling: `--learning-rate=3` is `--learning_rate=3`, as in Hugging Face's
 * parser. A flag where a value should stand is refused here, because commander would take it for the value.
 *
 * @throws UsageError
 */
export function normaliseWords(words: readonly string[], definition: CommandDefinition): string[] {
  const rows = new Map<string, FlagRow>();
  for (const row of definition.groups.flatMap((group) => group.rows)) {
    for (const spelling of spellingsOf(row)) rows.set(spelling, row);
  }
  const normalised = words.map((word) => normaliseFlag(word, rows));
  const given = new Map<FlagRow, string>();
  for (let at = 0; at < normalised.length && normalised[at] !== "--"; at++) {
    const word = normalised[at] ?? "";
    const [flag = ""] = word.split("=", 1);
    const row = flag.startsWith("--") ? rows.get(flag.slice(2)) : undefined;
    if (row === undefined) continue;
    checkRepetition(row, flag, given);
    if (arityOf(row) === "optional" || row.standsAlone === true || word !== flag) continue;
    const value = normalised[at + 1] ?? "";
    if (value.startsWith("--") && rows.has(value.slice(2))) {
      throw new UsageError(
        `${flag} needs a value, but ${value} follows. (A value that begins so is written ${flag}=${value}.)`,
      );
    }
    at++;
  }
  return normalised;
}

/** Which of two values was meant is not guessed; lists are put together. */
function checkRepetition(row: FlagRow, flag: string, given: Map<FlagRow, string>): void {
  const earlier = given.get(row);
  given.set(row, flag);
  if (earlier === undefined || (earlier === flag && arityOf(row) === "several")) return;
  throw new UsageError(
    earlier === flag
      ? `${flag} is given twice. Give it once.`
      : `${earlier} and ${flag} set the same argument. Give one of them.`,
  );
}

function normaliseFlag(word: string, known: ReadonlyMap<string, FlagRow>): string {
  if (!word.startsWith("--") || word.length === 2) return word;
  const end = word.indexOf("=");
  const name = (end < 0 ? word.slice(2) : word.slice(2, end)).replaceAll("-", "_");
  return known.has(name) ? `--${name}${end < 0 ? "" : word.slice(end)}` : word;
}

/** Every spelling that a command accepts after `--`. */
export function flagNames(definition: CommandDefinition): Set<string> {
  return new Set([...definition.groups.flatMap(({ rows }) => rows.flatMap(spellingsOf)), "help"]);
}

/** The commander command of a definition; `run` gets what was typed. */
export function createSubcommand(
  { name, summary }: { readonly name: string; readonly summary: string },
  definition: CommandDefinition,
  run: (invocation: Omit<Invocation, "words">) => Promise<void>,
): Command {
  const command = new Command(name).summary(summary).description(summary);
  for (const [notation, help] of definition.positionals) command.argument(notation, help);
  for (const { heading, rows } of definition.groups) {
    for (const row of rows) addRow(command, row, heading);
  }
  command.usage([...definition.positionals.map(([notation]) => notation), "[flags]"].join(" "));
  if (definition.passesFlagsOn === true) command.allowUnknownOption();
  command.addHelpOption(new Option("-h, --help", "Show this.").helpGroup("Help:"));
  const examples = definition.examples.map((line) => `  ${line}`).join("\n");
  if (examples !== "") command.addHelpText("after", `\nExamples:\n${examples}`);
  command.action(async () => {
    const values = command.opts<Record<string, unknown>>();
    const flags = definition.groups.flatMap(({ rows }) => rows.flatMap((row) => givenFlags(row, values)));
    await run({ positionals: command.args, flags });
  });
  return command;
}

function addRow(command: Command, row: FlagRow, heading: string | undefined): void {
  for (const spelling of spellingsOf(row)) {
    const complement = hasComplement(row) && spelling === `no_${row.name}`;
    const option = new Option(`--${spelling}${complement ? "" : ` ${valueNotation(row)}`}`, describeRow(row));
    if (heading === undefined || spelling !== row.name) option.hideHelp();
    else option.helpGroup(`${heading}:`);
    if (!complement) option.argParser((word: string, earlier: string[] | undefined) => [...(earlier ?? []), word]);
    command.addOption(option);
  }
}

function valueNotation(row: FlagRow): string {
  switch (arityOf(row)) {
    case "optional":
      return row.type === "boolean" ? "[bool]" : "[value]";
    case "several":
      return row.standsAlone === true ? "[name...]" : row.type === "integers" ? "<n...>" : "<name...>";
    default:
      return row.type === "integer" || row.type === "number" ? "<n>" : row.type === "json" ? "<json>" : "<value>";
  }
}

/** A row's flags among commander's values: a list of words, or `true` for a bare flag. */
function givenFlags(row: FlagRow, values: Readonly<Record<string, unknown>>): RawArgument[] {
  return spellingsOf(row).flatMap((spelling) => {
    const value = values[spelling];
    if (value === undefined || value === null) return [];
    const words = Array.isArray(value) ? value.map(String) : true;
    const plain = words !== true && isText(row, words) ? words[0] : words;
    return [{ name: spelling, value: plain, where: `--${spelling}` }];
  });
}

/**
 * Whether a flag's words are one text instead of a list. As in Hugging Face's parser, a list flag with one word is a list
 * (`--target_modules q_proj`); a word that is no name, such as a regular expression, would match nothing so, and stays text.
 */
function isText(row: FlagRow, words: readonly string[]): boolean {
  if (arityOf(row) !== "several") return true;
  return row.type === "stringOrStrings" && words.length === 1 && !/^[\w.-]+$/.test(words[0] ?? "");
}
