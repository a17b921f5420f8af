import { setImmediate } from "node:timers/promises";

import { defaultDevice, type Device, type Generator, noGrad, scope, slice, type Tensor } from "@fms-accel/tensor";

import type { CausalLMConfig } from "../config/causal-lm-config.ts";
import type { CausalLMInputs } from "../modeling/causal-lm.ts";
import type { KeyValueCache } from "../modeling/key-value-cache.ts";
import { DynamicCache } from "./dynamic-cache.ts";
import { GenerationError } from "./errors.ts";
import { GenerationConfig, type GenerationOptions } from "./generation-config.ts";
import { type GenerationInputs, PromptBatch } from "./prompt-batch.ts";
import { type FinishReason, StopConditions, type TokenDecoder } from "./stop-conditions.ts";
import { TokenChooser } from "./token-chooser.ts";

/** Room for new tokens that a cache is made with; beyond it the buffers grow. */
const EXPECTED_NEW_TOKENS = 256;

/** What generation needs of a model; every `CausalLM` has it, and a model with an adapter. */
export interface GenerativeModel {
  readonly config: CausalLMConfig;
  readonly generationConfig: Readonly<Record<string, unknown>>;
  readonly training: boolean;
  /** Positions before every sequence that are no tokens of it (prompt tuning); the cache holds them too. */
  readonly virtualTokens?: number;
  forward(inputs: CausalLMInputs): { readonly logits: Tensor };
  train(mode?: boolean): unknown;
  /** Promises that weights do not change until the returned function is called. */
  holdWeights?(): () => void;
}

/** What is not a setting of the generation itself. */
export interface GenerationContext {
  /** Random numbers for sampling. Default: the tensor engine's generator. */
  readonly generator?: Generator | undefined;
  /** Needed for stop strings. */
  readonly tokenizer?: TokenDecoder | undefined;
  /** Ends the generation between two tokens by throwing the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Where prompts given as lists go: the model's device. Default "cpu". */
  readonly device?: Device | undefined;
  /** Is told what was ignored or may surprise. Default: process.emitWarning. */
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** The tokens of one step. */
export interface GenerationStep {
  /** Counts new tokens from 0. */
  readonly index: number;
  /** The new token of each row; undefined for rows that had ended before. */
  readonly tokens: readonly (number | undefined)[];
}

export interface GenerationResult {
  /** New tokens of each row; an end-of-sequence token is the last one. */
  readonly tokens: readonly (readonly number[])[];
  readonly finishReasons: readonly FinishReason[];
}

/**
 * Generates token by token, and lets other work of the process run between them. The model is in evaluation mode meanwhile.
 * Leaving the loop early ends the generation.
 *
 * @param model with `config` and `generationConfig`, whose settings hold where `options` says nothing
 * @throws GenerationError for settings or inputs that cannot be used, and for logits that are not numbers
 */
export async function* generateStream(
  model: GenerativeModel,
  inputs: GenerationInputs,
  options: GenerationOptions = {},
  context: GenerationContext = {},
): AsyncGenerator<GenerationStep, GenerationResult, undefined> {
  const config = GenerationConfig.forModel(model.config, model.generationConfig, options);
  const batch = new PromptBatch(inputs, config.padTokenId, context.device ?? defaultDevice());
  const limit = config.newTokenLimit(batch.promptLength);
  const warnings = [
    ...config.warnings,
    ...checkLength(model.config, batch.promptLength + (model.virtualTokens ?? 0), limit),
  ];
  warnings.forEach(context.onWarning ?? ((message) => process.emitWarning(message, "GenerationWarning")));
  const minimum = config.newTokenMinimum(batch.promptLength);
  const stop = new StopConditions(config, context.tokenizer);
  const chooser = new TokenChooser(config, context.generator);
  const generated: number[][] = batch.tokens.map(() => []);
  const reasons: (FinishReason | undefined)[] = batch.tokens.map(() => undefined);

  const wasTraining = model.training;
  using cache = config.useCache
    ? new DynamicCache({ capacity: batch.promptLength + Math.min(limit, EXPECTED_NEW_TOKENS) })
    : undefined;
  const releaseWeights = model.holdWeights?.();
  try {
    if (wasTraining) {
      model.train(false);
    }
    for (let index = 0; index < limit && reasons.includes(undefined); index++) {
      context.signal?.throwIfAborted();
      const logits = nextLogits(model, batch, cache);
      const chosen = chooser.choose(logits, batch.tokens, index >= minimum);
      const tokens = chosen.map((token, row) => (reasons[row] === undefined ? token : undefined));
      tokens.forEach((token, row) => {
        if (token !== undefined) {
          generated[row]?.push(token);
          reasons[row] = stop.finished(generated[row] ?? []);
        }
      });
      batch.append(tokens.map((token) => token ?? config.padTokenId));
      yield { index, tokens };
      await setImmediate();
    }
  } finally {
    releaseWeights?.();
    if (wasTraining) {
      model.train(true);
    }
  }
  return { tokens: generated, finishReasons: reasons.map((reason) => reason ?? "length") };
}

/** What to do while `generate` runs. */
export interface GenerateContext extends GenerationContext {
  /** Called after every step. */
  readonly onStep?: ((step: GenerationStep) => void) | undefined;
}

/**
 * Generates to the end. See `generateStream`.
 *
 * @example const { tokens } = await generate(model, { inputIds: [[1, 15, 27]] }, { maxNewTokens: 20 });
 */
export async function generate(
  model: GenerativeModel,
  inputs: GenerationInputs,
  options: GenerationOptions = {},
  context: GenerateContext = {},
): Promise<GenerationResult> {
  const steps = generateStream(model, inputs, options, context);
  for (;;) {
    const step = await steps.next();
    if (step.done === true) {
      return step.value;
    }
    context.onStep?.(step.value);
  }
}

/** Logits of the token that follows each row, float32. */
function nextLogits(
  model: GenerativeModel,
  batch: PromptBatch,
  cache: (KeyValueCache & Disposable) | undefined,
): Float32Array[] {
  return noGrad(() =>
    scope(() => {
      const width = Math.max(...batch.tokens.map((row) => row.length));
      const known = cache === undefined || cache.length === 0 ? 0 : cache.length - (model.virtualTokens ?? 0);
      const inputs = batch.forwardInputs(width - known);
      const { logits } = model.forward({ ...inputs, cache, logitsToKeep: 1 });
      const [, kept = 1, vocabulary = 0] = logits.shape;
      const values = slice(logits, 1, kept - 1, kept).toFloat32Array();
      return batch.tokens.map((_, row) => values.subarray(row * vocabulary, (row + 1) * vocabulary));
    }),
  );
}

/** @returns warnings */
function checkLength(config: CausalLMConfig, promptLength: number, limit: number): readonly string[] {
  if (limit === 0) {
    throw new GenerationError(
      `maxLength leaves no room for new tokens: the prompt has ${promptLength}. Set maxNewTokens instead.`,
    );
  }
  const total = promptLength + limit - 1; // the last new token is not read again
  const places = `a prompt of ${promptLength} tokens and ${limit} new ones need ${total} positions, but the model`;
  const known = config.maxPositionEmbeddings;
  if (total <= known || config.rope?.ropeType === "dynamic") {
    return [];
  }
  if (config.rope === undefined) {
    throw new GenerationError(`${places} has learned only ${known} (max_position_embeddings). Lower maxNewTokens.`);
  }
  return [`${places} was made for ${known} (max_position_embeddings): expect nonsense beyond them`];
}
