import { arityOf, spellingsOf, type FlagRow } from "../cli/flag-table.ts";
import type { CommandEntry, Program } from "../cli/main.ts";

/** A flag as a shell offers it. */
export interface CompletedFlag {
  /** With its dashes. */
  readonly flag: string;
  readonly help: string;
  /** The values that it takes; `"files"` where they are open, `"none"` where it needs none. */
  readonly values: readonly string[] | "files" | "none";
}

export interface CompletedCommand {
  readonly name: string;
  readonly summary: string;
  readonly flags: readonly CompletedFlag[];
  /** What may follow the command without a flag. */
  readonly words: readonly string[] | "files" | "none";
}

/** All that a completion script knows of the program. */
export interface CompletionModel {
  readonly program: string;
  readonly commands: readonly CompletedCommand[];
}

/**
 * Reads the tables of every command.
 *
 * @param added commands of plugins; the flags of one for a mode ("preview --packing") are offered with the command that it stands in for
 * @param leftOut told of every added command that cannot be loaded
 */
export async function completionModel(
  { name: program, commands }: Program,
  added: readonly CommandEntry[],
  leftOut: (name: string, reason: string) => void,
): Promise<CompletionModel> {
  const completed = new Map<string, CompletedCommand>();
  for (const entry of commands) completed.set(entry.name, await completedCommand(entry));
  for (const entry of added) {
    const [name = "", mode] = entry.name.split(" ");
    const base = completed.get(name);
    if ((base === undefined) !== (mode === undefined)) continue;
    try {
      const command = await completedCommand(entry);
      completed.set(name, base === undefined ? command : withMode(base, command));
    } catch (error) {
      leftOut(entry.name, error instanceof Error ? error.message : String(error));
    }
  }
  return { program, commands: [...completed.values()] };
}

async function completedCommand(entry: CommandEntry): Promise<CompletedCommand> {
  const { name, summary } = entry;
  const definition = await entry.load();
  // Rows without a heading are accepted, but not offered.
  const rows = definition.groups.filter(({ heading }) => heading !== undefined).flatMap((group) => group.rows);
  const flags = [...rows.flatMap(completedFlags), { flag: "--help", help: "Show this.", values: "none" as const }];
  const words = definition.positionalWords?.() ?? (definition.positionals.length === 0 ? "none" : "files");
  return { name, summary, flags, words };
}

function withMode(base: CompletedCommand, mode: CompletedCommand): CompletedCommand {
  const further = mode.flags.filter(({ flag }) => !base.flags.some((own) => own.flag === flag));
  return { ...base, flags: [...base.flags, ...further] };
}

function completedFlags(row: FlagRow): CompletedFlag[] {
  const aliases = new Set(row.aliases ?? []);
  const offered = spellingsOf(row).filter((spelling) => !aliases.has(spelling));
  return offered.map((spelling) => ({
    flag: `--${spelling}`,
    help: row.help ?? "",
    values: spelling === row.name ? valuesOf(row) : "none",
  }));
}

function valuesOf(row: FlagRow): CompletedFlag["values"] {
  if (row.choices !== undefined) return row.choices;
  if (row.offered !== undefined) return row.offered;
  switch (row.type) {
    case "boolean":
      return ["True", "False"];
    case "integer":
    case "number":
      return [];
    default:
      return arityOf(row) === "optional" ? "none" : "files";
  }
}
