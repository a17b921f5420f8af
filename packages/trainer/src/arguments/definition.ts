/**
 * One row of an argument table. The tables are plain constants; the TypeScript types, the command-line flags and the YAML keys all come
 * from them, so a name, a type or a default is written once.
 */
export interface ArgumentDefinition {
  /** The name of Hugging Face or fms-hf-tuning, in snake_case: the flag without `--` and the YAML key. */
  readonly name: string;
  readonly type: ArgumentType;
  /** `null` means not set. */
  readonly default: unknown;
  readonly help: string;
  /** Allowed values of a string. */
  readonly choices?: readonly string[];
  /** Smallest allowed number. */
  readonly minimum?: number;
  /** The number must be above this. */
  readonly above?: number;
  /** Largest allowed number. */
  readonly maximum?: number;
  /** Other spellings that mean the same argument. */
  readonly aliases?: readonly string[];
  /** The default of Hugging Face TrainingArguments where fms-hf-tuning, which is followed here, has another. */
  readonly huggingFaceDefault?: unknown;
}

/**
 * - `boolean`: `--flag`, `--flag True`, `--no_flag` when the default is true
 * - `booleanOrString`: a truth value when the text is one, else the text
 * - `strings`: one or more words; `stringOrStrings`: a single word stays a string
 * - `json`: a JSON object in quotes on the command line, a mapping in YAML
 */
export type ArgumentType =
  | "string"
  | "integer"
  | "number"
  | "boolean"
  | "booleanOrString"
  | "strings"
  | "stringOrStrings"
  | "integers"
  | "json";

/** An argument of the originals that has no effect here. `ignored`: the run is the same without it. `unsupported`: it is not, so it is refused. */
export interface InertArgumentDefinition {
  readonly name: string;
  readonly type: ArgumentType;
  /** The value that asks for nothing. */
  readonly default: unknown;
  /** Why it has no effect; completes the sentence "ignored because …". */
  readonly ignored?: string;
  /** Why it is refused and what to use instead; completes the sentence "not supported: …". */
  readonly unsupported?: string;
}

/** `per_device_train_batch_size` → `perDeviceTrainBatchSize`. */
export type CamelCase<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name;

interface ValueOfType {
  string: string;
  integer: number;
  number: number;
  boolean: boolean;
  booleanOrString: boolean | string;
  strings: readonly string[];
  stringOrStrings: string | readonly string[];
  integers: readonly number[];
  json: Readonly<Record<string, unknown>>;
}

type ValueOf<Row> = Row extends { readonly choices: readonly (infer Choice)[] }
  ? Choice
  : Row extends { readonly type: infer Type extends ArgumentType }
    ? ValueOfType[Type]
    : never;

/** The resolved values of a table, keys in camelCase; an argument whose default is `null` may be `null`. */
export type ArgumentValues<Table extends readonly ArgumentDefinition[]> = {
  readonly [Row in Table[number] as CamelCase<Row["name"]>]:
    | ValueOf<Row>
    | (Row["default"] extends null ? null : never);
};

/** What a caller may leave out. */
export type ArgumentInput<Values> = { readonly [Key in keyof Values]?: Values[Key] | null | undefined };

/** `learning_rate` → `learningRate`. */
export function camelCase(name: string): string {
  return name.replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** `learningRate` → `learning_rate`. Inverse of `camelCase` for every name of the tables (a digit follows its letter there: `adam_beta1`). */
export function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
