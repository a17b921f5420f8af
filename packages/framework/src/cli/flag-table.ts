import type { ArgumentDefinition } from "@fms-accel/trainer";

/** What the command line needs to know of an argument: those of the trainer's tables, and those that it accepts without effect. */
export type FlagRow = Pick<ArgumentDefinition, "name" | "type" | "default"> &
  Partial<Pick<ArgumentDefinition, "help" | "choices" | "minimum" | "above" | "maximum" | "aliases">> & {
    /** What a shell offers as its value, where type and choices do not say it. */
    readonly offered?: readonly string[];
    /** Whether a list flag may stand alone. */
    readonly standsAlone?: boolean;
  };

/** Rows under one heading of `--help`; without a heading they are accepted but not listed. */
export interface FlagGroup {
  readonly heading: string | undefined;
  readonly rows: readonly FlagRow[];
}

/** How a row takes its value on the command line. */
export type FlagArity = "optional" | "one" | "several";

export function arityOf(row: FlagRow): FlagArity {
  switch (row.type) {
    case "boolean":
    case "booleanOrString":
      return "optional";
    case "strings":
    case "stringOrStrings":
    case "integers":
      return "several";
    default:
      return "one";
  }
}

/** A boolean that is true by default has a complement `--no_x`. */
export function hasComplement(row: FlagRow): boolean {
  return row.type === "boolean" && row.default === true;
}

/** Every spelling of a row: its name, its aliases, its complement. */
export function spellingsOf(row: FlagRow): string[] {
  return [row.name, ...(row.aliases ?? []), ...(hasComplement(row) ? [`no_${row.name}`] : [])];
}

/** The rows whose names are given, in that order. */
export function selectRows<Row extends FlagRow>(table: readonly Row[], names: readonly Row["name"][]): Row[] {
  return names.flatMap((name) => table.filter((row) => row.name === name));
}

/** The text behind a flag in `--help`: what it means, what it may be, what it is when left out. */
export function describeRow(row: FlagRow): string {
  const limits = [
    row.choices === undefined ? "" : row.choices.join(" | "),
    row.minimum === undefined ? "" : `at least ${row.minimum}`,
    row.above === undefined ? "" : `above ${row.above}`,
    row.maximum === undefined ? "" : `at most ${row.maximum}`,
    describeDefault(row.default),
  ].filter((text) => text !== "");
  return `${row.help ?? ""}${limits.length === 0 ? "" : ` (${limits.join("; ")})`}`;
}

function describeDefault(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? "" : `default ${value.join(" ")}`;
  if (typeof value === "string" || typeof value === "number" || value === true) return `default ${value}`;
  return "";
}
