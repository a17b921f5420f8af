import {
  ArgumentError,
  resolveTrainingArguments,
  snakeCase,
  type TrainingArguments,
  type TrainingArgumentsInput,
} from "@fms-accel/trainer";
import { ConfigurationError } from "../errors.ts";
import type { ActivePlugin } from "./activate-plugins.ts";

type Name = keyof TrainingArguments;

interface Change {
  readonly by: ActivePlugin;
  readonly before: unknown;
  readonly after: unknown;
}

/** The arguments of a run as plugins change them. */
export class ChangedArguments {
  #values: TrainingArguments;
  readonly #changes = new Map<Name, Change>();

  constructor(values: TrainingArguments) {
    this.#values = values;
  }

  get values(): TrainingArguments {
    return this.#values;
  }

  /**
   * Puts a plugin's values in place, checked as those of a program are.
   *
   * @throws ConfigurationError for a name or value that no argument has, for values that contradict others, and for one that another plugin
   *   has set differently
   */
  apply(by: ActivePlugin, wanted: TrainingArgumentsInput): void {
    const before = this.#values;
    try {
      this.#values = resolveTrainingArguments({ ...before, ...withoutUndefined(wanted) }).training;
    } catch (error) {
      if (!(error instanceof ArgumentError)) throw error;
      throw new ConfigurationError(`${by.where}: ${by.plugin.name} changes the training arguments: ${error.message}`, {
        cause: error,
      });
    }
    for (const name of Object.keys(before) as Name[]) {
      const after = this.#values[name];
      const earlier = this.#changes.get(name);
      if (Object.hasOwn(wanted, name) && earlier !== undefined && !isSame(earlier.after, after))
        throw contradiction(name, earlier, by, after);
      if (isSame(before[name], after)) continue;
      this.#changes.set(name, { by, before: before[name], after });
    }
  }

  /** A line for each argument that is not as the user or the defaults have it. */
  summary(): string[] {
    return [...this.#changes].map(
      ([name, { by, before, after }]) =>
        `Argument: ${snakeCase(name)} is ${shown(after)} instead of ${shown(before)}, as ${by.plugin.name} needs it.`,
    );
  }
}

function contradiction(name: Name, { by: first, after: value }: Change, by: ActivePlugin, other: unknown): Error {
  return new ConfigurationError(
    `${by.where}: ${by.plugin.name} wants ${snakeCase(name)} to be ${shown(other)}, but ${first.plugin.name} (${first.where}) ` +
      `needs ${shown(value)}. Remove one of the two sections.`,
  );
}

/** A key that is there without a value asks for nothing. */
function withoutUndefined(wanted: TrainingArgumentsInput): TrainingArgumentsInput {
  return Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== undefined));
}

function isSame(one: unknown, other: unknown): boolean {
  return shown(one) === shown(other);
}

function shown(value: unknown): string {
  return value === null ? "unset" : JSON.stringify(value);
}
