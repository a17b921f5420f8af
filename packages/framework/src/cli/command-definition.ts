import type { RawArgument } from "@fms-accel/trainer";
import type { FlagGroup } from "./flag-table.ts";
import type { Terminal } from "./terminal.ts";

/** A subcommand's arguments as they were typed: values are still text. */
export interface Invocation {
  /** The words of the command line, the command's name first. */
  readonly words: readonly string[];
  readonly positionals: readonly string[];
  /** In the order of the tables; `where` is the flag as typed. */
  readonly flags: readonly RawArgument[];
}

/** What a subcommand takes and does. */
export interface CommandDefinition {
  /** Arguments without a flag, in commander's notation (`[model]`), with what they mean. */
  readonly positionals: readonly (readonly [notation: string, help: string])[];
  readonly groups: readonly FlagGroup[];
  /** Lines for the end of `--help`. */
  readonly examples: readonly string[];
  /** Unknown flags are for another program: they stand among `positionals`, in their order, with everything that follows them. */
  readonly passesFlagsOn?: boolean;
  /** What a shell offers for the positionals; files where this is missing. */
  positionalWords?(): readonly string[];
  /** Returns the exit code. */
  run(invocation: Invocation, terminal: Terminal): Promise<number>;
}
