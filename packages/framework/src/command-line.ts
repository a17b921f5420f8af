import { runCommandLine } from "./cli/main.ts";
import { processTerminal } from "./cli/terminal.ts";
import { program } from "./program.ts";

/** The process: runs one command line and sets the exit code. A reader that closes the pipe early (`| head`) is no error. */
export async function main(argv: readonly string[]): Promise<void> {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  process.exitCode = await runCommandLine(program, argv, processTerminal());
}
