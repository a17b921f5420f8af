import {
  either,
  type Field,
  type FieldTable,
  flag,
  isCount,
  isCountList,
  isNull,
  isNumber,
  isPositiveInteger,
  isString,
  isStringList,
  type Json,
} from "../settings/field-table.ts";
import { GenerationError } from "./errors.ts";

const count: Field = {
  default: null,
  expected: "an integer from 0 on, or null",
  accepts: either(isNull, isCount),
};

/** A number above `low` (or from it on) up to `high`, or null. */
function between(low: number, high: number, inclusive: boolean, fallback: Json): Field {
  const limits = `${inclusive ? "from" : "above"} ${low}${high === Infinity ? "" : ` up to ${high}`}`;
  return {
    default: fallback,
    expected: `a number ${limits}, or null`,
    accepts: (value) =>
      value === null ||
      (isNumber(value) && (inclusive ? Number(value) >= low : Number(value) > low) && Number(value) <= high),
  };
}

/** The keys of generation_config.json (transformers 5.23, and what earlier versions wrote). */
export const GENERATION_FIELDS: FieldTable = {
  owner: "a generation configuration",
  stake: "what is generated",
  fail: (message) => new GenerationError(message),
  implemented: new Map<string, Field>([
    ["max_length", { ...count, expected: "a positive integer, or null", accepts: either(isNull, isPositiveInteger) }],
    ["max_new_tokens", count],
    ["min_length", count],
    ["min_new_tokens", count],
    ["do_sample", { ...flag(false), accepts: (value) => value === null || typeof value === "boolean" }],
    ["temperature", between(0, Infinity, true, null)],
    ["top_k", count],
    ["top_p", between(0, 1, true, null)],
    ["min_p", between(0, 1, true, null)],
    ["repetition_penalty", between(0, Infinity, false, null)],
    ["use_cache", { ...flag(true), accepts: (value) => value === null || typeof value === "boolean" }],
    [
      "eos_token_id",
      {
        default: null,
        expected: "a token id, a list of token ids, or null",
        accepts: either(isNull, isCount, isCountList),
      },
    ],
    // Some published files have -1 for "none".
    [
      "pad_token_id",
      {
        default: null,
        expected: "a token id, or null",
        accepts: either(isNull, (value) => isNumber(value) && Number.isInteger(value) && Number(value) >= -1),
      },
    ],
    ["bos_token_id", count],
    [
      "stop_strings",
      {
        default: null,
        expected: "a string, a list of strings, or null",
        accepts: either(isNull, isString, isStringList),
      },
    ],
  ]),
  notImplemented: new Map<string, Json>([
    ["bad_words_ids", null],
    ["begin_suppress_tokens", null],
    ["constraints", null],
    ["decoder_start_token_id", null],
    ["diversity_penalty", 0],
    ["dola_layers", null],
    ["encoder_no_repeat_ngram_size", 0],
    ["encoder_repetition_penalty", 1],
    ["epsilon_cutoff", 0],
    ["eta_cutoff", 0],
    ["exponential_decay_length_penalty", null],
    ["force_words_ids", null],
    ["forced_bos_token_id", null],
    ["forced_decoder_ids", null],
    ["forced_eos_token_id", null],
    ["guidance_scale", null],
    ["is_assistant", false],
    ["max_time", null],
    ["no_repeat_ngram_size", 0],
    ["num_beam_groups", 1],
    ["num_beams", 1],
    ["num_return_sequences", 1],
    ["penalty_alpha", null],
    ["prompt_lookup_num_tokens", null],
    ["remove_invalid_values", false],
    ["renormalize_logits", false],
    ["sequence_bias", null],
    ["suppress_tokens", null],
    ["token_healing", false],
    ["top_h", null],
    ["typical_p", 1],
    ["use_mtp", null],
    ["watermarking_config", null],
  ]),
  // How transformers stores, speeds up or reports; and settings of methods that are refused above.
  withoutEffect: new Map<string, Json>(
    [
      "_from_model_config",
      "assistant_confidence_threshold",
      "assistant_early_exit",
      "assistant_ensemble_weight",
      "assistant_lookbehind",
      "cache_config",
      "cache_implementation",
      "chat_format",
      "compile_config",
      "continuous_batching_config",
      "disable_compile",
      "early_stopping",
      "generation_kwargs",
      "length_penalty",
      "low_memory",
      "max_cache_len",
      "max_matching_ngram_size",
      "max_window_size",
      "num_assistant_tokens",
      "num_assistant_tokens_schedule",
      "output_attentions",
      "output_hidden_states",
      "output_logits",
      "output_scores",
      "prefill_chunk_size",
      "return_dict_in_generate",
      "return_legacy_cache",
      "speculation_type",
      "target_lookbehind",
      "transformers_version",
    ].map((key) => [key, null]),
  ),
};
