import { join } from "node:path";

import {
  camelCase,
  checkFields,
  codeSource,
  describeField,
  either,
  type Field,
  type FieldSource,
  type FieldTable,
  flag,
  isNull,
  isPositiveInteger,
  isString,
  type Json,
} from "../settings/field-table.ts";
import { ADAPTER_CONFIG_NAME, parseAdapterConfig, readAdapterConfig } from "./adapter-config-file.ts";
import { AdapterConfigError } from "./errors.ts";
import { PEFT_VERSION } from "./lora-config-fields.ts";
import { pythonJson } from "./python-json.ts";

export type PromptTuningInit = "TEXT" | "SAMPLE_VOCAB" | "RANDOM";
const INITIALISATIONS: readonly string[] = ["TEXT", "SAMPLE_VOCAB", "RANDOM"];

const text: Field = { default: null, expected: "a string or null", accepts: either(isNull, isString) };
const count: Field = {
  default: null,
  expected: "a positive integer or null",
  accepts: either(isNull, isPositiveInteger),
};

/** The fields of PEFT's PromptTuningConfig but `peft_type`. */
const PROMPT_TUNING_FIELDS: FieldTable = {
  owner: "a prompt tuning configuration",
  stake: "what the adapter computes",
  fail: (message) => new AdapterConfigError(message),
  implemented: new Map<string, Field>([
    ["task_type", { ...text, default: "CAUSAL_LM" }],
    ["base_model_name_or_path", text],
    ["revision", text],
    ["peft_version", { ...text, default: PEFT_VERSION }],
    ["inference_mode", flag(false)],
    ["num_virtual_tokens", { default: 8, expected: "a positive integer", accepts: isPositiveInteger }],
    ["token_dim", count],
    ["num_attention_heads", count],
    ["num_layers", count],
    [
      "num_transformer_submodules",
      { default: null, expected: "1 or null", accepts: (value) => value === null || value === 1 },
    ],
    [
      "prompt_tuning_init",
      {
        default: "RANDOM",
        expected: INITIALISATIONS.map((name) => `"${name}"`).join(", "),
        accepts: (value) => typeof value === "string" && INITIALISATIONS.includes(value),
      },
    ],
    ["prompt_tuning_init_text", text],
    ["tokenizer_name_or_path", text],
  ]),
  notImplemented: new Map<string, Json>([
    ["modules_to_save", null],
    ["tokenizer_kwargs", null],
  ]),
  withoutEffect: new Map<string, Json>([["auto_mapping", null]]),
};

/** The settings of prompt tuning: PEFT's fields in camelCase, all optional. */
export interface PromptTuningConfigOptions {
  /** Vectors that are learnt and put before every sequence. Default 8. */
  readonly numVirtualTokens?: number | undefined;
  /**
   * Where they start: at the embeddings of a text's tokens (`TEXT`, repeated or cut to fit), of tokens drawn from the vocabulary
   * (`SAMPLE_VOCAB`), or normally distributed (`RANDOM`, the default).
   */
  readonly promptTuningInit?: PromptTuningInit | undefined;
  readonly promptTuningInitText?: string | null | undefined;
  /** Folder of the tokenizer of that text. */
  readonly tokenizerNameOrPath?: string | null | undefined;
  /** Sizes of the base model; filled in from it. */
  readonly tokenDim?: number | null | undefined;
  readonly numAttentionHeads?: number | null | undefined;
  readonly numLayers?: number | null | undefined;
  readonly numTransformerSubmodules?: number | null | undefined;
  readonly taskType?: string | null | undefined;
  readonly baseModelNameOrPath?: string | null | undefined;
  readonly revision?: string | null | undefined;
  readonly inferenceMode?: boolean | undefined;
  readonly peftVersion?: string | null | undefined;
}

const CONSTRUCTOR = codeSource(PROMPT_TUNING_FIELDS, "PromptTuningConfig");

type Settings = { readonly [K in keyof PromptTuningConfigOptions]-?: Exclude<PromptTuningConfigOptions[K], undefined> };

/**
 * Settings of prompt tuning (Lester et al., 2021, arXiv:2104.08691), immutable, with PEFT's names and file format.
 * @throws AdapterConfigError for an unknown field, a value of the wrong kind, or `TEXT` without a text and a tokenizer
 */
export class PromptTuningConfig {
  readonly peftType = "PROMPT_TUNING";
  /** Tags of the model card. */
  readonly tags: readonly string[] = [];
  readonly numVirtualTokens: number;
  readonly promptTuningInit: PromptTuningInit;
  readonly promptTuningInitText: string | null;
  readonly tokenizerNameOrPath: string | null;
  readonly tokenDim: number | null;
  readonly baseModelNameOrPath: string | null;
  readonly inferenceMode: boolean;
  /** What was ignored on the way in, for the user to see. */
  readonly warnings: readonly string[];
  readonly #values: ReadonlyMap<string, Json>;

  /** @param source where the options were read from; only messages depend on it */
  constructor(options: PromptTuningConfigOptions = {}, source: FieldSource = CONSTRUCTOR) {
    const { values, warnings } = checkFields(PROMPT_TUNING_FIELDS, Object.entries(options), source);
    const settings = Object.fromEntries(
      [...values].map(([key, value]) => [camelCase(key), value]),
    ) as unknown as Settings;
    this.numVirtualTokens = settings.numVirtualTokens;
    this.promptTuningInit = settings.promptTuningInit;
    this.promptTuningInitText = settings.promptTuningInitText;
    this.tokenizerNameOrPath = settings.tokenizerNameOrPath;
    this.tokenDim = settings.tokenDim;
    this.baseModelNameOrPath = settings.baseModelNameOrPath;
    this.inferenceMode = settings.inferenceMode;
    this.warnings = warnings;
    this.#values = values;
    for (const key of ["prompt_tuning_init_text", "tokenizer_name_or_path"]) {
      if (this.promptTuningInit === "TEXT" && (values.get(key) ?? "") === "") {
        throw new AdapterConfigError(`${describeField(source, key)} is missing: prompt_tuning_init "TEXT" needs it.`);
      }
    }
  }

  /** A copy with some settings changed. */
  with(changes: PromptTuningConfigOptions): PromptTuningConfig {
    const current = Object.fromEntries([...this.#values].map(([key, value]) => [camelCase(key), value]));
    return new PromptTuningConfig({ ...current, ...changes });
  }

  /** Reads the text of an adapter_config.json. @throws AdapterConfigError with file and line */
  static parse(json: string, file: string = ADAPTER_CONFIG_NAME): PromptTuningConfig {
    const { fields, source } = parseAdapterConfig(json, file, "PROMPT_TUNING");
    return new PromptTuningConfig(Object.fromEntries(fields), source);
  }

  /** Reads `adapter_config.json` of an adapter directory. @throws AdapterConfigError */
  static fromPretrained(directory: string): PromptTuningConfig {
    return PromptTuningConfig.parse(readAdapterConfig(directory), join(directory, ADAPTER_CONFIG_NAME));
  }

  /** The text of adapter_config.json as PEFT writes it: every field, keys sorted. */
  toJson(): string {
    return pythonJson({ ...Object.fromEntries(this.#values), peft_type: this.peftType });
  }
}
