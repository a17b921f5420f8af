import { arityOf, spellingsOf, type FlagRow } from "../cli/flag-table.ts";
import type { Program } from "../cli/main.ts";

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

/** Reads the tables of every command. */
export async function completionModel({ name: program, commands }: Program): Promise<CompletionModel> {
  const completed = commands.map(async (entry): Promise<CompletedCommand> => {
    const definition = await entry.load();
    // Rows without a heading are accepted, but not offered.
    const rows = definition.groups.filter(({ heading }) => heading !== undefined).flatMap((group) => group.rows);
    const flags = [...rows.flatMap(completedFlags), { flag: "--help", help: "Show this.", values: "none" as const }];
    const words = definition.positionalWords?.() ?? (definition.positionals.length === 0 ? "none" : "files");
    return { name: entry.name, summary: entry.summary, flags, words };
  });
  return { program, commands: await Promise.all(completed) };
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
