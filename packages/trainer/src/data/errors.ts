/** Where in the data a problem was found. Rows and lines count as people do: the first line is 1, the first row is row 0. */
export interface DataLocation {
  /** Path of the file. */
  readonly file?: string;
  /** Line in a text file, from 1. */
  readonly line?: number;
  /** Row of the file, from 0. */
  readonly row?: number;
  /** Name of the column. */
  readonly column?: string;
}

/** What was wrong: an expectation that the data did not meet, and what would help. */
export interface DataProblem {
  readonly expected?: string;
  readonly found?: string;
  readonly hint?: string;
  readonly cause?: unknown;
}

/**
 * A data file, a row or a data option that cannot be used. The message reads
 * `<file>, line 3, column "text": <what>: expected a string, found a number; <hint>`.
 */
export class DatasetError extends Error {
  readonly file: string | undefined;
  readonly line: number | undefined;
  readonly row: number | undefined;
  readonly column: string | undefined;

  constructor(what: string, where: DataLocation = {}, problem: DataProblem = {}) {
    super(composeMessage(what, where, problem), problem.cause === undefined ? undefined : { cause: problem.cause });
    this.name = "DatasetError";
    this.file = where.file;
    this.line = where.line;
    this.row = where.row;
    this.column = where.column;
  }
}

/** `data.jsonl, line 3, column "text"`: the row is named only where there is no line. */
export function describeLocation(where: DataLocation): string {
  const parts: string[] = [];
  if (where.file !== undefined) parts.push(where.file);
  if (where.line !== undefined) parts.push(`line ${where.line}`);
  else if (where.row !== undefined) parts.push(`row ${where.row}`);
  if (where.column !== undefined) parts.push(`column "${where.column}"`);
  return parts.join(", ");
}

function composeMessage(what: string, where: DataLocation, problem: DataProblem): string {
  const location = describeLocation(where);
  let message = location === "" ? what : `${location}: ${what}`;
  if (problem.expected !== undefined) message += `: expected ${problem.expected}`;
  if (problem.found !== undefined) message += `${problem.expected === undefined ? ":" : ","} found ${problem.found}`;
  if (problem.hint !== undefined) message += `; ${problem.hint}`;
  return message;
}

/** The words of anything thrown, in one short line. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const line = text.replaceAll(/\s+/g, " ").trim();
  return line.length > 200 ? `${line.slice(0, 200)}…` : line;
}
