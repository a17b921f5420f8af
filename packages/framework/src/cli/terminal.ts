import pc from "picocolors";
import type { Readable, Writable } from "node:stream";

export type Colors = ReturnType<typeof pc.createColors>;

/** Where a command reads and writes. Results go to `output`, everything that is said about them to `notes`. */
export interface Terminal {
  readonly input: Readable & { readonly isTTY?: boolean };
  readonly output: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly notes: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  /** Colours for `output`. */
  readonly colors: Colors;
  /** Colours for `notes`. */
  readonly noteColors: Colors;
}

/** NO_COLOR (https://no-color.org) wins, then FORCE_COLOR, then whether the stream is a terminal. */
function wantsColor(stream: { readonly isTTY?: boolean }, environment: NodeJS.ProcessEnv): boolean {
  if ((environment["NO_COLOR"] ?? "") !== "") return false;
  const forced = environment["FORCE_COLOR"];
  if (forced !== undefined) return forced !== "0" && forced !== "false";
  return stream.isTTY === true && environment["TERM"] !== "dumb";
}

export function createTerminal(
  streams: Pick<Terminal, "input" | "output" | "notes">,
  environment: NodeJS.ProcessEnv = process.env,
): Terminal {
  return {
    ...streams,
    colors: pc.createColors(wantsColor(streams.output, environment)),
    noteColors: pc.createColors(wantsColor(streams.notes, environment)),
  };
}

export function processTerminal(): Terminal {
  return createTerminal({ input: process.stdin, output: process.stdout, notes: process.stderr });
}

export function printLine(stream: Writable, text = ""): void {
  stream.write(`${text}\n`);
}

/** Shows what the lower packages warn of, as lines instead of process warnings. */
export function warningSink({ notes, noteColors }: Terminal): (message: string) => void {
  return (message) => printLine(notes, noteColors.yellow(message));
}
