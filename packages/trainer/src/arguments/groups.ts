import type { ArgumentDefinition, ArgumentInput, ArgumentValues } from "./definition.ts";
import { dataArgumentTable, modelArgumentTable, peftArgumentTable } from "./group-tables.ts";
import { trainingArgumentTable } from "./training-table.ts";

/** Arguments of a run: Hugging Face TrainingArguments and fms-hf-tuning's, in camelCase. */
export type TrainingArguments = ArgumentValues<typeof trainingArgumentTable>;
/** Which model and tokenizer. */
export type ModelArguments = ArgumentValues<typeof modelArgumentTable>;
/** Which samples and how they become tokens. */
export type DataArguments = ArgumentValues<typeof dataArgumentTable>;
/** The adapter. */
export type PeftArguments = ArgumentValues<typeof peftArgumentTable>;

/** What a caller gives for a run: any subset of `TrainingArguments`. */
export type TrainingArgumentsInput = ArgumentInput<TrainingArguments>;

/** Every table by the group it fills: what a command line or a schema generator walks over. */
export const argumentTables: Readonly<Record<ArgumentGroup, readonly ArgumentDefinition[]>> = {
  model: modelArgumentTable,
  data: dataArgumentTable,
  peft: peftArgumentTable,
  training: trainingArgumentTable,
};

export type ArgumentGroup = "model" | "data" | "peft" | "training";
