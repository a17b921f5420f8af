import { printLine, type Terminal } from "./terminal.ts";

/** Exit codes, as fms-hf-tuning has them: something the user can mend, and a fault of the program. */
export const EXIT_USER_ERROR = 1;
export const EXIT_INTERNAL_ERROR = 203;

/** Errors that only a fault of the program raises; the packages' own error classes extend Error itself. */
function isInternal(error: unknown): boolean {
  return (
    !(error instanceof Error) ||
    [TypeError, RangeError, ReferenceError, SyntaxError].some((kind) => error.constructor === kind)
  );
}

/**
 * Prints one error by its message; the stack only with FMS_ACCEL_DEBUG=1.
 *
 * @returns the exit code
 */
export function reportError(error: unknown, terminal: Terminal, environment: NodeJS.ProcessEnv = process.env): number {
  const { notes, noteColors } = terminal;
  const message = error instanceof Error ? error.message : String(error);
  printLine(notes, `${noteColors.bold(noteColors.red("error:"))} ${message}`);
  const internal = isInternal(error);
  if (environment["FMS_ACCEL_DEBUG"] === "1") {
    printLine(notes, noteColors.dim(error instanceof Error ? describeStack(error) : "(no stack)"));
  } else if (internal) {
    printLine(
      notes,
      noteColors.dim("This is a fault of fms-accel. The same command with FMS_ACCEL_DEBUG=1 shows where it happened."),
    );
  }
  return internal ? EXIT_INTERNAL_ERROR : EXIT_USER_ERROR;
}

function describeStack(error: Error): string {
  const own = error.stack ?? error.message;
  return error.cause instanceof Error ? `${own}\ncaused by ${describeStack(error.cause)}` : own;
}
