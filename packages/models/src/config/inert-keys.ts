/**
 * Keys of published config.json files that do not change what a decoder-only model computes. Everything that is neither
 * read by the architecture nor listed here is an error: it might change the model's maths, and leaving it out would go
 * unnoticed.
 */
import { didYouMean } from "../messages/did-you-mean.ts";
import { type ConfigSource, configError, preview } from "./config-source.ts";

/** Bookkeeping that transformers writes into every file: nothing to say about it. */
const BOOKKEEPING: ReadonlySet<string> = new Set([
  "_attn_implementation_autoset",
  "_commit_hash",
  "_from_model_config",
  "_name_or_path",
  "architectures",
  "auto_map",
  "dtype",
  "finetuning_task",
  "id2label",
  "label2id",
  "model_type",
  "name_or_path",
  "output_attentions",
  "output_hidden_states",
  "problem_type",
  "return_dict",
  "task_specific_params",
  "tokenizer_class",
  "torch_dtype",
  "transformers_version",
  "use_cache",
]);

/** Settings of generation, which older files keep in config.json: generation_config.json is what counts. */
const GENERATION: ReadonlySet<string> = new Set([
  "assistant_confidence_threshold",
  "assistant_lookbehind",
  "bad_words_ids",
  "begin_suppress_tokens",
  "decoder_start_token_id",
  "diversity_penalty",
  "do_sample",
  "early_stopping",
  "encoder_no_repeat_ngram_size",
  "encoder_repetition_penalty",
  "epsilon_cutoff",
  "eta_cutoff",
  "exponential_decay_length_penalty",
  "forced_bos_token_id",
  "forced_eos_token_id",
  "length_penalty",
  "max_length",
  "max_new_tokens",
  "min_length",
  "no_repeat_ngram_size",
  "num_assistant_tokens",
  "num_assistant_tokens_schedule",
  "num_beam_groups",
  "num_beams",
  "num_return_sequences",
  "output_scores",
  "prefix",
  "remove_invalid_values",
  "repetition_penalty",
  "return_dict_in_generate",
  "sep_token_id",
  "suppress_tokens",
  "target_lookbehind",
  "temperature",
  "top_k",
  "top_p",
  "typical_p",
]);

/** Keys that other tools leave behind and no model of this package reads: ignored, and said so. */
const FOREIGN: ReadonlySet<string> = new Set([
  "attn_implementation",
  "classifier_dropout",
  "custom_pipelines",
  "is_llama_config",
  "max_sequence_length",
  "num_labels",
  "pretraining_tp",
  "torchscript",
  "unsloth_fixed",
  "unsloth_version",
  "use_bfloat16",
]);

/** Keys that say nothing at these values. Any other value asks for a computation that this package lacks, unless the key is foreign. */
const WITHOUT_EFFECT_AT: ReadonlyMap<string, readonly unknown[]> = new Map<string, readonly unknown[]>([
  ["add_cross_attention", [false]],
  ["chunk_size_feed_forward", [0]],
  ["cross_attention_hidden_size", [null]],
  ["is_decoder", [false, true]],
  ["is_encoder_decoder", [false]],
  ["pretraining_tp", [1]],
  ["pruned_heads", [{}]],
  ["rope_interleaved", [false]],
  ["tie_encoder_decoder", [false]],
]);

/**
 * Accounts for every key of a file: read by the architecture (`known`), inert, or an error. One warning names the keys that
 * were left out although someone may have meant something by them.
 */
export function checkUnreadKeys(source: ConfigSource, known: Iterable<string>): void {
  const read = new Set(known);
  const ignored: string[] = [];
  for (const [key, value] of Object.entries(source.json)) {
    if (read.has(key) || BOOKKEEPING.has(key) || GENERATION.has(key)) {
      continue;
    }
    const harmless = WITHOUT_EFFECT_AT.get(key);
    if (harmless?.some((inert) => JSON.stringify(inert) === JSON.stringify(value))) {
      continue;
    }
    if (FOREIGN.has(key) || source.ignoreConfigKeys.includes(key) || (value === null && harmless === undefined)) {
      ignored.push(key);
    } else if (harmless !== undefined) {
      throw configError(
        source,
        [key],
        `expected ${harmless.map(preview).join(" or ")}, found ${preview(value)}: what it asks for is not supported.`,
      );
    } else if (key === "quantization_config") {
      throw configError(source, [key], "a quantised checkpoint. It cannot be opened here; use the unquantised one.");
    } else {
      throw unknownKey(source, key, value, read);
    }
  }
  if (ignored.length > 0) {
    const count = ignored.length === 1 ? "1 key has" : `${ignored.length} keys have`;
    source.onWarning(
      `${source.file}: ${count} no effect here: ${ignored.map((key) => `${key}=${preview(source.json[key])}`).join(", ")}`,
    );
  }
}

function unknownKey(source: ConfigSource, key: string, value: unknown, read: ReadonlySet<string>): Error {
  return configError(
    source,
    [key],
    `unknown key (value ${preview(value)}).${didYouMean(key, read)} It may change what the model computes, so it is not ` +
      `skipped silently: remove it, or name it in ignoreConfigKeys if you know that it does not.`,
  );
}
