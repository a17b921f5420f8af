import { PassThrough } from "node:stream";
import { createTerminal, type Terminal } from "../../src/cli/terminal.ts";

export interface CapturedTerminal {
  readonly terminal: Terminal;
  readonly output: () => string;
  readonly notes: () => string;
}

/** A terminal that keeps what is printed; `input` is what stdin would give. */
export function captureTerminal(options: { color?: boolean; input?: string } = {}): CapturedTerminal {
  const printed = { output: "", notes: "" };
  const sink = (key: keyof typeof printed): PassThrough => {
    const stream = new PassThrough();
    stream.on("data", (chunk: Buffer) => {
      printed[key] += chunk.toString("utf8");
    });
    return stream;
  };
  const input = new PassThrough();
  input.end(options.input ?? "");
  const environment = options.color === true ? { FORCE_COLOR: "1" } : { NO_COLOR: "1" };
  const terminal = createTerminal({ input, output: sink("output"), notes: sink("notes") }, environment);
  return { terminal, output: () => printed.output, notes: () => printed.notes };
}
