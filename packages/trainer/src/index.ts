// ---- Arguments
export { closestName } from "./arguments/did-you-mean.ts";
export { camelCase, snakeCase } from "./arguments/definition.ts";
export type {
  ArgumentDefinition,
  ArgumentInput,
  ArgumentType,
  InertArgumentDefinition,
} from "./arguments/definition.ts";
export { argumentTables } from "./arguments/groups.ts";
export type {
  ArgumentGroup,
  DataArguments,
  ModelArguments,
  PeftArguments,
  TrainingArguments,
  TrainingArgumentsInput,
} from "./arguments/groups.ts";
export { inertArgumentTable } from "./arguments/inert-table.ts";
export {
  argumentNames,
  describeIgnoredArguments,
  parseArguments,
  resolveTrainingArguments,
} from "./arguments/parse.ts";
export type { IgnoredArgument, ParsedArguments, RawArgument } from "./arguments/parse.ts";

// ---- Learning rate
export { countWarmupSteps, createSchedule } from "./schedules.ts";
export type { Schedule, ScheduleOptions, SchedulerType } from "./schedules.ts";

// ---- Errors
export { ArgumentError, CheckpointError, TrainingError } from "./errors.ts";
