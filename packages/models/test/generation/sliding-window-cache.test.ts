/** Caches of layers with a sliding window: what they forget is never missed, and their memory does not grow with the text. */
import { Generator, manualSeed, tensor, type Tensor } from "@fms-accel/tensor";
import { describe, expect, it } from "vitest";

import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";
import { DynamicCache } from "../../src/generation/dynamic-cache.ts";
import { generate, type GenerationResult } from "../../src/generation/generate.ts";
import type { CausalLM } from "../../src/modeling/causal-lm.ts";

/** `[1, 2, tokens, 3]`: head 0 counts the tokens from `first` on, head 1 the same plus a half. */
const numbered = (first: number, tokens: number): Tensor =>
  tensor(
    Float32Array.from({ length: 2 * tokens * 3 }, (_, at) => {
      const head = Math.floor(at / (tokens * 3));
      return first + Math.floor((at % (tokens * 3)) / 3) + head / 2;
    }),
    { shape: [1, 2, tokens, 3] },
  );

/** The numbers of the tokens in what `update` returned. */
const tokensOf = (keys: Tensor): number[] => {
  const [, , count = 0] = keys.shape;
  const values = keys.toFloat32Array();
  return Array.from({ length: count }, (_, token) => {
    expect(values[(count + token) * 3]).toBe((values[token * 3] ?? NaN) + 0.5);
    return values[token * 3] ?? NaN;
  });
};

describe("DynamicCache with a window", () => {
  it.each([1, 2, 7, 64])("of %i: one token at a time", (window) => {
    using cache = new DynamicCache({ capacity: 4096 });
    let largest = 0;
    for (let seen = 0; seen < 700; seen++) {
      expect(cache.length).toBe(seen);
      const { keys, values } = cache.update(0, numbered(seen, 1), numbered(seen, 1), window);
      const first = Math.max(0, seen - window + 1);
      expect(tokensOf(keys)).toEqual(Array.from({ length: seen + 1 - first }, (_, at) => first + at));
      expect(tokensOf(values)).toEqual(tokensOf(keys));
      largest = Math.max(largest, cache.bytes);
    }
    const bytesOfToken = 2 * 2 * 3 * 4;
    expect(largest).toBeLessThanOrEqual(bytesOfToken * (window + Math.max(window, 64)));
  });

  it("a prompt longer than the window, and several tokens at a time", () => {
    using cache = new DynamicCache();
    let seen = 0;
    for (const count of [50, 1, 3, 20, 1, 1, 100, 7]) {
      const { keys } = cache.update(3, numbered(seen, count), numbered(seen, count), 8);
      const found = tokensOf(keys);
      // The first of the new tokens sees seven before it.
      expect(found).toEqual(
        Array.from({ length: seen + count }, (_, at) => at).slice(seen === 0 ? 0 : Math.max(0, seen - 7)),
      );
      seen += count;
      expect(cache.length).toBe(seen);
    }
  });

  it("beside layers without one", () => {
    using cache = new DynamicCache({ capacity: 10 });
    for (let seen = 0; seen < 300; seen++) {
      expect(cache.length).toBe(seen);
      const windowed = cache.update(0, numbered(seen, 1), numbered(seen, 1), 5);
      const full = cache.update(1, numbered(seen, 1), numbered(seen, 1));
      expect(windowed.keys.shape[2]).toBe(Math.min(5, seen + 1));
      expect(full.keys.shape[2]).toBe(seen + 1);
    }
  });
});

const sizes = {
  vocab_size: 61,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 512,
  rope_theta: 10_000,
};
const CONFIGS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "mistral, window 5": { ...sizes, model_type: "mistral", architectures: ["MistralForCausalLM"], sliding_window: 5 },
  "gemma 2, window 6 in every second layer": {
    ...sizes,
    model_type: "gemma2",
    architectures: ["Gemma2ForCausalLM"],
    head_dim: 8,
    query_pre_attn_scalar: 8,
    tie_word_embeddings: false,
    sliding_window: 6,
  },
  "qwen 2, window 4 in the upper layers": {
    ...sizes,
    model_type: "qwen2",
    architectures: ["Qwen2ForCausalLM"],
    use_sliding_window: true,
    sliding_window: 4,
    max_window_layers: 2,
  },
};

describe.each(Object.entries(CONFIGS))("%s", (_, config) => {
  const open = (): CausalLM => {
    manualSeed(3);
    // A wide range, so that tokens depend on what was seen.
    return AutoModelForCausalLM.fromConfig({ ...config, initializer_range: 0.4 });
  };
  const settings = { maxNewTokens: 80, eosTokenId: [], padTokenId: 0 };
  const long = Array.from({ length: 23 }, (_, at) => (at * 7) % 61);

  it("a long text is the same with and without a cache", async () => {
    const model = open();
    const sample = (useCache: boolean): Promise<GenerationResult> =>
      generate(model, { inputIds: [long] }, { ...settings, doSample: true, useCache }, { generator: new Generator(5) });
    const [cached, plain] = [await sample(true), await sample(false)];
    expect(cached.tokens).toEqual(plain.tokens);
    expect(new Set(cached.tokens[0]).size).toBeGreaterThan(3);
  });

  it("a left-padded batch is the same as each prompt alone", async () => {
    const model = open();
    const prompts = [long, [5, 9], long.slice(0, 7)];
    const together = await generate(model, { inputIds: prompts }, settings);
    for (const [row, prompt] of prompts.entries()) {
      const alone = await generate(model, { inputIds: [prompt] }, settings);
      expect(together.tokens[row]).toEqual(alone.tokens[0]);
    }
  });
});
