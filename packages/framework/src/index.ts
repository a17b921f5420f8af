// ---- Command line
export { main } from "./command-line.ts";
export { program } from "./program.ts";
export { dispatch, runCommandLine } from "./cli/main.ts";
export type { CommandEntry, Program } from "./cli/main.ts";
export type { CommandDefinition, Invocation } from "./cli/command-definition.ts";
export { createTerminal, processTerminal } from "./cli/terminal.ts";
export type { Terminal } from "./cli/terminal.ts";

// ---- Terminal output
export { renderCurve, wantsLogarithm } from "./terminal/loss-chart.ts";
export type { CurvePoint } from "./terminal/loss-chart.ts";

// ---- Errors
export { ConfigurationError, UsageError } from "./errors.ts";
