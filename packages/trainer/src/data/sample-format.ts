import { DatasetError } from "./errors.ts";
import { describeKeys } from "./row.ts";
import { unescapeTemplate } from "./text-template.ts";

/** What says how rows become text; names as in fms-hf-tuning, whose strings may hold escapes such as `\n`. */
export interface SampleFormatOptions {
  /** Column that holds the whole text. */
  readonly datasetTextField?: string | undefined;
  /** Column that holds the list of messages; `messages` is found without it. */
  readonly datasetConversationField?: string | undefined;
  /** Jinja template that makes the text from a row. */
  readonly dataFormatterTemplate?: string | undefined;
  /** What stands before every answer. Only answers are trained. */
  readonly responseTemplate?: string | undefined;
  /** What stands before every question, where a text has several turns. */
  readonly instructionTemplate?: string | undefined;
  /** Samples will be packed: without a response template all tokens of a text are trained. */
  readonly packing?: boolean | undefined;
  /** Samples will be put into one row: without a response template all tokens of a text are trained. */
  readonly paddingFree?: boolean | undefined;
  /** `false` trains all tokens of a text without a response template (TRL's `completion_only_loss`). */
  readonly completionOnlyLoss?: boolean | undefined;
}

/** The strings before answers and questions. */
export interface AnswerKeys {
  readonly response: string;
  readonly instruction?: string;
}

/** How the rows of a dataset become tokens. */
export type SampleFormat =
  | { readonly kind: "pretokenized"; readonly labels: boolean; readonly attentionMask: boolean }
  | { readonly kind: "chat"; readonly column: string; readonly keys?: AnswerKeys }
  | { readonly kind: "text"; readonly column: string; readonly keys?: AnswerKeys }
  | { readonly kind: "template"; readonly template: string; readonly keys?: AnswerKeys }
  | { readonly kind: "alpaca"; readonly input: boolean }
  | { readonly kind: "pairs"; readonly input: string; readonly output: string };

/** The format, and what of the options has no effect with it. */
export interface DetectedFormat {
  readonly format: SampleFormat;
  readonly notes: readonly string[];
}

/** Column names of pairs, first match. */
const PAIRS = [
  ["input", "output"],
  ["prompt", "completion"],
] as const;

/**
 * Finds the format of a dataset, first match as in fms-hf-tuning: pretokenised (`input_ids`, perhaps `labels` and
 * `attention_mask`), a conversation field, a text field or template, a column `messages`, `instruction`/`input`/`output` (Alpaca),
 * `input`/`output`, `prompt`/`completion`.
 *
 * @throws DatasetError where nothing matches or the options contradict each other
 */
export function detectFormat(columnNames: readonly string[], options: SampleFormatOptions): DetectedFormat {
  const given = presentOptions(options);
  const has = (column: string): boolean => columnNames.includes(column);
  if (has("input_ids")) return pretokenized(columnNames, given);
  if (given.dataset_text_field !== undefined && given.data_formatter_template !== undefined) {
    throw new DatasetError(
      "dataset_text_field and data_formatter_template are both set, but are mutually exclusive options",
    );
  }
  const asText = given.dataset_text_field !== undefined || given.data_formatter_template !== undefined;
  const conversation = given.dataset_conversation_field ?? (!asText && has("messages") ? "messages" : undefined);
  if (conversation !== undefined) {
    requireColumn(columnNames, conversation, "dataset_conversation_field");
    const keys = chatKeys(given);
    const format: SampleFormat = { kind: "chat", column: conversation, ...(keys === undefined ? {} : { keys }) };
    return {
      format,
      notes: unused(given, ["dataset_text_field", "data_formatter_template"], "the chat template makes the text"),
    };
  }
  if (asText) return { format: textFormat(columnNames, options, given), notes: [] };
  return columnFormat(columnNames, given);
}

type GivenOptions = Partial<Record<OptionName, string>>;
type OptionName =
  | "dataset_text_field"
  | "dataset_conversation_field"
  | "data_formatter_template"
  | "response_template"
  | "instruction_template";

/** Options that are set, by the names that users know; escapes in templates are read. */
function presentOptions(options: SampleFormatOptions): GivenOptions {
  const given: GivenOptions = {};
  const add = (name: OptionName, value: string | undefined): void => {
    if (value !== undefined && value !== "") given[name] = value;
  };
  add("dataset_text_field", options.datasetTextField);
  add("dataset_conversation_field", options.datasetConversationField);
  add("data_formatter_template", options.dataFormatterTemplate && unescapeTemplate(options.dataFormatterTemplate));
  add("response_template", options.responseTemplate && unescapeTemplate(options.responseTemplate));
  add("instruction_template", options.instructionTemplate && unescapeTemplate(options.instructionTemplate));
  return given;
}

function pretokenized(columnNames: readonly string[], given: GivenOptions): DetectedFormat {
  const names = Object.keys(given);
  if (names.length > 0) {
    throw new DatasetError(
      `${names.join(", ")} not applicable for pretokenized datasets`,
      {},
      {
        found: 'a column "input_ids"',
        hint: "leave the option out, or the column",
      },
    );
  }
  const labels = columnNames.includes("labels");
  return {
    format: { kind: "pretokenized", labels, attentionMask: columnNames.includes("attention_mask") },
    notes: labels ? [] : ['no column "labels": all tokens are trained'],
  };
}

/** Templates of a chat: both, or none and the chat template says what the assistant wrote. */
function chatKeys(given: GivenOptions): AnswerKeys | undefined {
  const { response_template: response, instruction_template: instruction } = given;
  if (response === undefined && instruction === undefined) return undefined;
  if (response === undefined || instruction === undefined) {
    throw new DatasetError(
      "a conversation needs both response_template and instruction_template, or neither",
      {},
      {
        hint: "with neither the chat template says which tokens are the assistant's",
      },
    );
  }
  return { response, instruction };
}

function textFormat(columnNames: readonly string[], options: SampleFormatOptions, given: GivenOptions): SampleFormat {
  const keys = textKeys(options, given);
  if (given.data_formatter_template !== undefined) {
    return { kind: "template", template: given.data_formatter_template, ...keys };
  }
  const column = given.dataset_text_field ?? "";
  requireColumn(columnNames, column, "dataset_text_field");
  return { kind: "text", column, ...keys };
}

function textKeys(options: SampleFormatOptions, given: GivenOptions): { keys?: AnswerKeys } {
  const { response_template: response, instruction_template: instruction } = given;
  if (response !== undefined) {
    return { keys: instruction === undefined ? { response } : { response, instruction } };
  }
  if (instruction !== undefined) {
    throw new DatasetError(
      "instruction_template is set without response_template",
      {},
      { expected: "both, or response_template" },
    );
  }
  const allTokens = options.packing === true || options.paddingFree === true || options.completionOnlyLoss === false;
  if (!allTokens) {
    throw new DatasetError(
      "Since response_template is not provided for masking, it is not known which tokens to train",
      {},
      {
        hint: "give response_template, or use packing, padding_free or completion_only_loss=false to train all tokens",
      },
    );
  }
  return {};
}

function columnFormat(columnNames: readonly string[], given: GivenOptions): DetectedFormat {
  const has = (column: string): boolean => columnNames.includes(column);
  const notes = unused(given, ["response_template", "instruction_template"], "the columns say what the answer is");
  if (has("instruction") && has("output")) {
    return { format: { kind: "alpaca", input: has("input") }, notes };
  }
  const pair = PAIRS.find(([input, output]) => has(input) && has(output));
  if (pair !== undefined) return { format: { kind: "pairs", input: pair[0], output: pair[1] }, notes };
  throw new DatasetError(
    "the columns tell no format",
    {},
    {
      expected:
        "input_ids, messages, instruction and output, input and output, or prompt and completion; " +
        "or dataset_text_field, dataset_conversation_field or data_formatter_template to be set",
      found: describeKeys(columnNames, 20),
    },
  );
}

function unused(given: GivenOptions, names: readonly OptionName[], because: string): string[] {
  return names.filter((name) => given[name] !== undefined).map((name) => `${name} is not used: ${because}`);
}

function requireColumn(columnNames: readonly string[], column: string, option: string): void {
  if (columnNames.includes(column)) return;
  throw new DatasetError(
    `${option} names a column that is not there`,
    { column },
    { found: describeKeys(columnNames, 20) },
  );
}
