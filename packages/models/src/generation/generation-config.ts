import type { CausalLMConfig } from "../config/causal-lm-config.ts";
import { camelCase, checkFields, codeSource, fileSource } from "../settings/field-table.ts";
import { GenerationError } from "./errors.ts";
import { GENERATION_FIELDS } from "./generation-config-fields.ts";

/** New tokens when nothing sets a length, as in transformers. */
const DEFAULT_NEW_TOKENS = 20;
/** transformers' top_k when sampling and nothing sets it. */
const DEFAULT_TOP_K = 50;

/** Settings of a generation: Hugging Face's names in camelCase. null and absent are the same: "not set". */
export interface GenerationOptions {
  /** New tokens at most. Default 20, unless maxLength is set. */
  readonly maxNewTokens?: number | null | undefined;
  /** Tokens at most, those of the (padded) prompt included. maxNewTokens has precedence. */
  readonly maxLength?: number | null | undefined;
  /** No end-of-sequence token before that many new tokens. */
  readonly minNewTokens?: number | null | undefined;
  /** The same, counted with the prompt. minNewTokens has precedence. */
  readonly minLength?: number | null | undefined;
  /** Draw tokens by their probability instead of taking the most probable one. Default false. */
  readonly doSample?: boolean | null | undefined;
  /** Divides the logits when sampling. Default 1. */
  readonly temperature?: number | null | undefined;
  /** Only the k most probable tokens, when sampling; 0 for all. Default 50. */
  readonly topK?: number | null | undefined;
  /** Only the most probable tokens that together reach this probability, when sampling. Default 1. */
  readonly topP?: number | null | undefined;
  /** Only tokens at least this probable relative to the most probable one, when sampling. */
  readonly minP?: number | null | undefined;
  /** Makes tokens that occurred before (prompt included) less likely: positive logits are divided by it, negative multiplied. */
  readonly repetitionPenalty?: number | null | undefined;
  /** Any of these tokens ends a row. */
  readonly eosTokenId?: number | readonly number[] | null | undefined;
  /** Fills the left of shorter prompts and goes on in finished rows. */
  readonly padTokenId?: number | null | undefined;
  readonly bosTokenId?: number | null | undefined;
  /** Any of these texts ends a row; needs a tokenizer. */
  readonly stopStrings?: string | readonly string[] | null | undefined;
  /** Keep keys and values of earlier tokens. Default true. */
  readonly useCache?: boolean | null | undefined;
}

/**
 * Settings of a generation, checked and immutable.
 * @throws GenerationError for a value of the wrong kind, an unknown key, or a method that is not implemented
 */
export class GenerationConfig {
  readonly maxNewTokens: number | undefined;
  readonly maxLength: number | undefined;
  readonly minNewTokens: number;
  readonly minLength: number;
  readonly doSample: boolean;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly eosTokenIds: readonly number[];
  readonly padTokenId: number;
  readonly stopStrings: readonly string[];
  readonly useCache: boolean;
  readonly warnings: readonly string[];

  /** @param inherited warnings of the files that options come from */
  constructor(options: GenerationOptions = {}, inherited: readonly string[] = []) {
    const code = codeSource(GENERATION_FIELDS, "GenerationConfig");
    const { values, warnings } = checkFields(GENERATION_FIELDS, Object.entries(options), code);
    const set = Object.fromEntries([...values].map(([key, value]) => [camelCase(key), value])) as GenerationOptions;
    const eos = set.eosTokenId ?? [];
    const stop = set.stopStrings ?? [];
    this.maxNewTokens = set.maxNewTokens ?? undefined;
    this.maxLength = set.maxLength ?? undefined;
    this.minNewTokens = set.minNewTokens ?? 0;
    this.minLength = set.minLength ?? 0;
    this.doSample = set.doSample ?? false;
    this.temperature = set.temperature ?? 1;
    this.topK = set.topK ?? DEFAULT_TOP_K;
    this.topP = set.topP ?? 1;
    this.minP = set.minP ?? 0;
    this.repetitionPenalty = set.repetitionPenalty ?? 1;
    this.eosTokenIds = typeof eos === "number" ? [eos] : eos;
    // Any id will do where none is named: what stands on padding is masked, and what a finished row goes on with is not returned.
    const pad = set.padTokenId ?? -1;
    this.padTokenId = pad >= 0 ? pad : (this.eosTokenIds[0] ?? 0);
    this.stopStrings = typeof stop === "string" ? [stop] : stop;
    this.useCache = set.useCache ?? true;
    this.warnings = [...inherited, ...warnings];
    if (this.doSample && this.temperature === 0) {
      throw new GenerationError(
        'GenerationConfig: "temperature" must be above 0 to draw tokens; set "doSample" to false to take the most probable ones.',
      );
    }
  }

  /**
   * The settings for a model: what the caller sets, then the model's generation_config.json, then the special tokens of its
   * config.json.
   * @param stored contents of generation_config.json
   */
  static forModel(
    config: Pick<CausalLMConfig, "bosTokenId" | "eosTokenIds" | "padTokenId">,
    stored: Readonly<Record<string, unknown>>,
    options: GenerationOptions = {},
  ): GenerationConfig {
    const file = fileSource("generation_config.json");
    const { values, warnings } = checkFields(GENERATION_FIELDS, Object.entries(stored), file);
    const present = [...values].filter(([key, value]) => key in stored && value !== null);
    const implemented = present.filter(([key]) => GENERATION_FIELDS.implemented.has(key));
    const given = Object.entries(options).filter(([, value]) => value != null);
    const settings = {
      bosTokenId: config.bosTokenId,
      eosTokenId: config.eosTokenIds,
      padTokenId: config.padTokenId,
      ...Object.fromEntries(implemented.map(([key, value]) => [camelCase(key), value])),
      ...Object.fromEntries(given),
    };
    return new GenerationConfig(settings, warnings);
  }

  /** How many tokens may follow a prompt of this (padded) length; 0 when the prompt is too long already. */
  newTokenLimit(promptLength: number): number {
    if (this.maxNewTokens !== undefined) {
      return this.maxNewTokens;
    }
    return this.maxLength === undefined ? DEFAULT_NEW_TOKENS : Math.max(0, this.maxLength - promptLength);
  }

  /** How many tokens must follow a prompt of this length before an end-of-sequence token may. */
  newTokenMinimum(promptLength: number): number {
    return this.minNewTokens > 0 ? this.minNewTokens : Math.max(0, this.minLength - promptLength);
  }
}
