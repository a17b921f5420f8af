import { runCommandLine } from "./cli/main.ts";
import { processTerminal, warningSink } from "./cli/terminal.ts";
import { withPluginCommands } from "./plugins/plugin-commands.ts";
import { program } from "./program.ts";

/** The process: runs one command line and sets the exit code. A reader that closes the pipe early (`| head`) is no error. */
export async function main(argv: readonly string[]): Promise<void> {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  // Lower packages warn by process warnings where nobody asked for them otherwise: shown as a line, without process id and hints.
  const terminal = processTerminal();
  process.removeAllListeners("warning").on("warning", ({ message }) => warningSink(terminal)(message));
  process.exitCode = await runCommandLine(withPluginCommands(program, argv), argv, terminal);
}
