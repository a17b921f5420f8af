/** config.json of every architecture: both forms of it, and what it refuses. */
import { fixturePath, readJsonFixture } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { AutoConfig } from "../../src/auto/auto-config.ts";
import type { CausalLMConfig } from "../../src/config/causal-lm-config.ts";
import { ConfigError } from "../../src/errors.ts";
import { DENSE_CASES } from "../architectures/golden.ts";

type Json = Record<string, unknown>;

function parse(name: string, changes: Json = {}, removed: readonly string[] = []): CausalLMConfig {
  const json = { ...readJsonFixture<Json>("models", name, "config.json"), ...changes };
  const kept = Object.fromEntries(Object.entries(json).filter(([key]) => !removed.includes(key)));
  return AutoConfig.fromObject(kept, { onWarning: () => {} });
}

const refuse = (message: string): void => expect.fail(message);

describe.each([...DENSE_CASES, "gpt2-hub"])("%s", (name) => {
  it("has the same settings in the form of transformers 4 and in that of 5, without a warning", async () => {
    const { raw: _, ...old } = await AutoConfig.fromPretrained(fixturePath("models", name), { onWarning: refuse });
    const current = AutoConfig.fromObject(readJsonFixture<Json>("models", name, "config.v5.json"), {
      onWarning: refuse,
    });
    expect({ ...current, raw: undefined }).toEqual({ ...old, raw: undefined });
  });

  it("refuses a key that it does not know", () => {
    expect(() => parse(name, { rotary_percentage: 0.5 })).toThrow(ConfigError);
    expect(() => parse(name, { rotary_percentage: 0.5 })).toThrow(/rotary_percentage: unknown key/);
  });
});

describe("windows", () => {
  it("of Mistral and Qwen2 are 4096 where the file does not say", () => {
    expect(parse("mistral", {}, ["sliding_window"])).toMatchObject({ slidingWindow: 4096 });
    expect(parse("mistral", { sliding_window: null })).toMatchObject({ slidingWindow: undefined });
    expect(parse("qwen2-window", {}, ["sliding_window"])).toMatchObject({ layerWindows: [undefined, 4096] });
  });

  it("of Qwen are used only when asked for", () => {
    expect(parse("qwen2-window", { use_sliding_window: false })).toMatchObject({
      layerWindows: [undefined, undefined],
    });
  });

  it("alternate in Gemma 2 and leave every sixth layer of Gemma 3 open", () => {
    expect(parse("gemma2", { num_hidden_layers: 4 })).toMatchObject({ layerWindows: [6, undefined, 6, undefined] });
    const gemma3 = (changes: Json): CausalLMConfig =>
      parse("gemma3_text", { num_hidden_layers: 7, ...changes }, ["layer_types"]);
    expect(gemma3({})).toMatchObject({ layerWindows: [6, 6, 6, 6, 6, undefined, 6] });
    expect(gemma3({ sliding_window_pattern: 3 })).toMatchObject({
      layerWindows: [6, 6, undefined, 6, 6, undefined, 6],
    });
  });

  it.each([
    ["qwen2-window", { layer_types: ["full_attention"] }, /layer_types: expected one for each of 2 layers/],
    ["qwen3", { layer_types: ["full_attention", "chunked_attention"] }, /layer_types.1: .*found "chunked_attention"/],
    ["qwen3", { layer_types: ["full_attention", "sliding_attention"] }, /sliding_window: expected a number of tokens/],
  ])("of %s refuse %j", (name, changes, message) => {
    expect(() => parse(name, changes)).toThrow(message);
  });
});

describe("what each architecture reads in its own way", () => {
  it.each(["su", "yarn"])("Phi-3 with LongRoPE under its first name %s", (type) => {
    const factors = { short_factor: [1, 1, 1, 1], long_factor: [2, 2, 2, 2] };
    const rope = (kind: string): CausalLMConfig["rope"] =>
      parse("phi3", { rope_scaling: { type: kind, ...factors }, original_max_position_embeddings: 16 }).rope;
    expect(rope(type)).toEqual(rope("longrope"));
    expect(rope(type)).toMatchObject({ ropeType: "longrope", longFactor: [2, 2, 2, 2] });
    const llama = { rope_scaling: { type: "su", ...factors } };
    expect(() => parse("llama", llama)).toThrow(/expected one of default, .*found "su"/);
  });

  it.each<[string, Json, readonly string[], Json]>([
    ["smollm3", { num_hidden_layers: 5 }, ["no_rope_layers"], { rotates: [true, true, true, false, true] }],
    ["gemma3_text", {}, [], { localRope: { ropeType: "default", ropeTheta: 10_000 } }],
    ["gemma3_text", {}, [], { rope: { ropeType: "linear", ropeTheta: 1_000_000, factor: 8 } }],
    ["gemma", { hidden_act: "gelu", hidden_activation: "relu" }, [], { hiddenAct: "relu" }],
    ["phi3", { partial_rotary_factor: 0.5 }, [], { rotaryDim: 4 }],
    ["gpt_neox", { rotary_pct: 1 }, [], { rotaryDim: 8 }],
    ["gpt2", { n_inner: 48 }, [], { innerSize: 48, tieWordEmbeddings: true }],
    ["gpt_bigcode", { multi_query: false }, ["num_key_value_heads"], { numKeyValueHeads: 4 }],
  ])("%s with %j", (name, changes, removed, expected) => {
    expect(parse(name, changes, removed)).toMatchObject(expected);
  });

  it.each<[string, Json, RegExp]>([
    ["smollm3", { no_rope_layers: [1, 0] }, /no_rope_layers: expected one for each of 3 layers/],
    ["smollm3", { no_rope_layers: [1, 2, 0] }, /no_rope_layers/],
    ["phi3", { partial_rotary_factor: 0.4 }, /partial_rotary_factor: rotary embeddings need an even number/],
    ["gpt_neox", { rope_theta: 500 }, /rotary_emb_base: contradicts rope_theta \(500\)/],
    ["gpt_neox", { num_key_value_heads: 2 }, /num_key_value_heads/],
    ["gpt_bigcode", { num_key_value_heads: 2 }, /num_key_value_heads: expected 1, as multi_query/],
    ["gpt2", { reorder_and_upcast_attn: true }, /reorder_and_upcast_attn/],
    ["gemma", { use_bidirectional_attention: true }, /use_bidirectional_attention/],
    ["granite", { residual_multiplier: 1e300 }, /residual_multiplier: expected at most 65504/],
    ["granite", { logits_scaling: 0 }, /logits_scaling: expected more than 0/],
  ])("%s refuses %j", (name, changes, message) => {
    expect(() => parse(name, changes)).toThrow(ConfigError);
    expect(() => parse(name, changes)).toThrow(message);
  });
});
