import { Command, CommanderError } from "commander";
import { UsageError } from "../errors.ts";
import type { CommandDefinition } from "./command-definition.ts";
import { reportError } from "./report-error.ts";
import { createSubcommand, flagNames, normaliseWords } from "./subcommand.ts";
import { didYouMean } from "./suggestions.ts";
import type { Terminal } from "./terminal.ts";

/** A command as the top level lists it; what it does is loaded when it is called. */
export interface CommandEntry {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  load(): Promise<CommandDefinition>;
}

/** What the program is called and which commands it has. */
export interface Program {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly commands: readonly CommandEntry[];
  /** Ends the top level's `--help`. */
  readonly closing: string;
}

/**
 * Runs one command line.
 *
 * @param argv what follows the program's name
 * @returns the exit code; every error has been printed as one message
 */
export async function runCommandLine(program: Program, argv: readonly string[], terminal: Terminal): Promise<number> {
  try {
    return await dispatch(program, argv, terminal);
  } catch (error) {
    return reportError(error, terminal);
  }
}

/** As `runCommandLine`, but throws what it would print. */
export async function dispatch(program: Program, argv: readonly string[], terminal: Terminal): Promise<number> {
  let exitCode = 0;
  const root = new Command(program.name);
  root.description(program.description).version(program.version, "-V, --version", "Print the version.");
  root.helpOption("-h, --help", "Show this; after a command, its flags.").helpCommand(false);
  root.usage("<command> [flags]").addHelpText("after", program.closing);
  const entry = program.commands.find(({ name }) => name === argv[0]);
  const called = await entry?.load();
  for (const listed of program.commands) {
    const command =
      called !== undefined && listed === entry
        ? createSubcommand(listed, called, async (invocation) => {
            exitCode = await called.run({ ...invocation, words: argv }, terminal);
          })
        : new Command(listed.name).summary(listed.summary);
    root.addCommand(command);
  }
  for (const command of [root, ...root.commands]) adaptToTerminal(command, terminal);
  if (argv.length === 0) {
    root.outputHelp();
    return 0;
  }
  const known = called === undefined ? new Set<string>() : flagNames(called);
  try {
    await root.parseAsync(called === undefined ? [...argv] : normaliseWords(argv, called), { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0;
    throw usageErrorOf(error, program, called === undefined ? undefined : entry, known);
  }
  return exitCode;
}

function adaptToTerminal(command: Command, { output, colors }: Terminal): void {
  command.exitOverride().showSuggestionAfterError(false).allowExcessArguments(false);
  command.configureOutput({
    writeOut: (text) => output.write(text),
    // Commander's own error texts are replaced by the thrown UsageError.
    writeErr: () => {},
    getOutHelpWidth: () => Math.min(output.columns ?? 100, 120),
    getOutHasColors: () => colors.isColorSupported,
  });
  command.configureHelp({
    styleTitle: (title) => colors.bold(title),
    styleOptionTerm: (term) => colors.cyan(term),
    styleSubcommandTerm: (term) => colors.cyan(term),
    subcommandTerm: (subcommand) => subcommand.name(),
  });
}

/** Commander's parse errors in this program's words. */
function usageErrorOf(
  error: CommanderError,
  program: Program,
  called: CommandEntry | undefined,
  flags: ReadonlySet<string>,
): UsageError {
  const quoted = /'([^']*)'/.exec(error.message)?.[1] ?? "";
  const help = `See \`${program.name}${called === undefined ? "" : ` ${called.name}`} --help\`.`;
  switch (error.code) {
    case "commander.unknownCommand": {
      const names = program.commands.map(({ name }) => name);
      return new UsageError(`unknown command "${quoted}".${didYouMean(quoted, names)} ${help}`);
    }
    case "commander.unknownOption": {
      const attempt = quoted.replace(/=.*/s, "");
      const names = called === undefined ? ["help", "version"] : [...flags];
      const near = didYouMean(attempt.replace(/^-+/, ""), names, (name) => `--${name}`);
      return new UsageError(`unknown flag ${attempt}.${near} ${help}`);
    }
    case "commander.optionMissingArgument":
      return new UsageError(`${/--\w+/.exec(error.message)?.[0] ?? quoted} needs a value. ${help}`);
    case "commander.excessArguments":
      return new UsageError(`${describeExcess(called, error)} ${help}`);
    default:
      return new UsageError(`${error.message.replace(/^error: /, "").replace(/\.?$/, ".")} ${help}`);
  }
}

/** Words that belong to no flag: most often a value with an unquoted blank. */
function describeExcess(called: CommandEntry | undefined, error: CommanderError): string {
  const counts = /Expected (\d+) arguments? but got (\d+)/.exec(error.message);
  return (
    `${called?.name ?? "the command line"} got ${counts?.[2] ?? "more"} ${counts?.[2] === "1" ? "word that belongs" : "words that belong"} to no flag, and takes ` +
    `${counts?.[1] ?? "fewer"}. A value with blanks is written in quotes.`
  );
}
