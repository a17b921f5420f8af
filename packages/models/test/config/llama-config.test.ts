import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { fixturePath, readJsonFixture, temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import type { LlamaConfig } from "../../src/architectures/llama.ts";
import { AutoConfig } from "../../src/auto/auto-config.ts";
import { ConfigError } from "../../src/errors.ts";

const CASES = [
  "llama",
  "llama3-rope",
  "llama-bias",
  "llama-longrope",
  "llama-rope-dynamic",
  "llama-rope-linear",
  "llama-rope-yarn",
  "llama-sharded",
];

const base = readJsonFixture<Record<string, unknown>>("models", "llama", "config.json");

/** Parses the llama fixture's configuration with changes; undefined removes a key. */
function parse(
  changes: Record<string, unknown>,
  ignoreConfigKeys?: string[],
): { config: LlamaConfig; warnings: string[] } {
  const warnings: string[] = [];
  const settings = Object.fromEntries(
    Object.entries({ ...base, ...changes }).filter(([, value]) => value !== undefined),
  );
  const config = AutoConfig.fromObject(settings, { onWarning: (message) => warnings.push(message), ignoreConfigKeys });
  return { config: config as LlamaConfig, warnings };
}

describe("AutoConfig of Llama", () => {
  it.each(CASES)("reads transformers 4's and 5's form of %s to the same settings", async (name) => {
    const warnings: string[] = [];
    const onWarning = (message: string): number => warnings.push(message);
    const { raw: _4, ...old } = await AutoConfig.fromPretrained(fixturePath("models", name), { onWarning });
    const { raw: _5, ...current } = await AutoConfig.fromPretrained(fixturePath("models", name, "config.v5.json"), {
      onWarning,
    });
    expect(current).toEqual(old);
    expect(warnings).toEqual([]);
  });

  it("reads every setting", async () => {
    const config = await AutoConfig.fromPretrained(fixturePath("models", "llama-bias"));
    const { raw, ...settings } = config as LlamaConfig;
    expect(settings).toEqual({
      modelType: "llama",
      architecture: "LlamaForCausalLM",
      vocabSize: 416,
      hiddenSize: 32,
      intermediateSize: 56,
      numHiddenLayers: 2,
      numAttentionHeads: 4,
      numKeyValueHeads: 2,
      headDim: 12,
      rotaryDim: 12,
      hiddenAct: "silu",
      maxPositionEmbeddings: 128,
      rmsNormEps: 1e-5,
      attentionBias: true,
      attentionDropout: 0,
      mlpBias: true,
      tieWordEmbeddings: false,
      initializerRange: 0.02,
      paddingIdx: 7,
      padTokenId: 7,
      bosTokenId: 1,
      eosTokenIds: [2],
      dtype: "float32",
      rope: { ropeType: "default", ropeTheta: 10_000 },
    });
    expect(raw["pretraining_tp"]).toBe(1);
  });

  it("takes Hugging Face's defaults for keys that older files lack", () => {
    const { config, warnings } = parse({
      num_key_value_heads: undefined,
      head_dim: undefined,
      attention_bias: undefined,
      attention_dropout: undefined,
      mlp_bias: undefined,
      tie_word_embeddings: undefined,
      initializer_range: undefined,
      rope_theta: undefined,
      rope_scaling: undefined,
      torch_dtype: undefined,
      bos_token_id: undefined,
      eos_token_id: undefined,
      pad_token_id: undefined,
    });
    expect(config).toMatchObject({
      numKeyValueHeads: 4,
      headDim: 8,
      attentionBias: false,
      attentionDropout: 0,
      mlpBias: false,
      tieWordEmbeddings: false,
      initializerRange: 0.02,
      rope: { ropeType: "default", ropeTheta: 10_000 },
      dtype: undefined,
      eosTokenIds: [],
      paddingIdx: undefined,
    });
    expect(warnings).toEqual(["configuration object: rope_theta is not set: 10000, the architecture's own, is taken."]);
  });

  it.each([
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "rms_norm_eps",
    "hidden_act",
  ])("has no default for %s", (key) => {
    expect(() => parse({ [key]: undefined })).toThrow(
      new RegExp(`${key}: expected .*, found nothing \\(the key is missing\\)`),
    );
  });

  it.each<[Record<string, unknown>, RegExp]>([
    [{ hidden_size: "32" }, /hidden_size: expected a number, found "32"/],
    [{ hidden_size: 32.5 }, /hidden_size: expected a whole number, found 32.5/],
    [{ hidden_size: -32 }, /hidden_size: expected at least 1, found -32/],
    [{ hidden_size: Number.NaN }, /hidden_size: expected .*, found NaN/],
    [{ hidden_size: Number.POSITIVE_INFINITY }, /hidden_size: expected .*, found Infinity/],
    [{ hidden_size: 1e18 }, /hidden_size: expected at most/],
    [{ num_hidden_layers: 0 }, /num_hidden_layers: expected at least 1, found 0/],
    [{ num_hidden_layers: 1e9 }, /num_hidden_layers: expected at most 10000, found 1000000000/],
    [{ rms_norm_eps: 0 }, /rms_norm_eps: expected more than 0, found 0/],
    [{ attention_dropout: 1 }, /attention_dropout: expected less than 1, found 1/],
    [{ attention_bias: "false" }, /attention_bias: expected a boolean, found "false"/],
    [{ hidden_act: "sillu" }, /hidden_act: expected "silu", "swish", .*, found "sillu"/],
    [
      { hidden_size: 30, head_dim: undefined },
      /hidden_size: expected a multiple of num_attention_heads \(4\), found 30/,
    ],
    [{ num_key_value_heads: 3 }, /num_key_value_heads: expected a divisor of num_attention_heads \(4\), found 3/],
    [{ head_dim: 7 }, /head_dim: rotary embeddings need an even number, found 7/],
    [{ pad_token_id: 416 }, /pad_token_id: expected an id of the vocabulary \(0 to 415\), found 416/],
    [{ torch_dtype: "float8" }, /torch_dtype: expected one of float32, bfloat16, float16, found "float8"/],
    [{ torch_dtype: "float32", dtype: "int8" }, /dtype: expected one of/],
    [{ eos_token_id: "</s>" }, /eos_token_id: expected a token id or a list of token ids, found "<\/s>"/],
    [{ rope_theta: -1 }, /rope_theta: expected more than 0, found -1/],
    [{ rope_scaling: "linear" }, /rope_scaling: expected a record, found "linear"/],
    [{ rope_scaling: { type: "linear" } }, /rope_scaling.factor: expected a number, found nothing/],
    [{ rope_scaling: { type: "linear", factor: 0 } }, /rope_scaling.factor: expected more than 0, found 0/],
    [
      { rope_scaling: { type: "ntk", factor: 2 } },
      /rope_scaling.type: expected one of default, linear, .*, found "ntk"/,
    ],
    [
      { rope_scaling: { type: "linear", rope_type: "dynamic", factor: 2 } },
      /rope_scaling.type: contradicts rope_type \("dynamic"\), found "linear"/,
    ],
    [
      { rope_scaling: { type: "linear", factor: 2, beta_fast: 3 } },
      /rope_scaling.beta_fast: not a setting of rope type "linear"/,
    ],
    [{ rope_scaling: { factor: 2 } }, /rope_scaling.factor: not a setting of rope type "default"/],
    [
      { rope_scaling: { type: "linear", factor: 2, rope_theta: 5 } },
      /rope_theta: contradicts rope_scaling.rope_theta \(5\), found 10000/,
    ],
    [
      { rope_scaling: { type: "linear", factor: 2 }, rope_parameters: { rope_type: "linear", factor: 3 } },
      /rope_scaling: contradicts rope_parameters/,
    ],
    [
      {
        rope_scaling: {
          type: "longrope",
          short_factor: [1, 1],
          long_factor: [1, 1, 1, 1],
          original_max_position_embeddings: 16,
        },
      },
      /rope_scaling.short_factor: expected 4 factors, one for each pair of rotary dimensions, found 2/,
    ],
    [
      {
        rope_scaling: {
          type: "llama3",
          factor: 2,
          low_freq_factor: 4,
          high_freq_factor: 4,
          original_max_position_embeddings: 16,
        },
      },
      /rope_scaling.high_freq_factor: expected more than low_freq_factor \(4\), found 4/,
    ],
    [
      { rope_scaling: { type: "yarn", factor: 2, original_max_position_embeddings: 16, beta_fast: 1, beta_slow: 2 } },
      /beta_fast: expected at least/,
    ],
    [{ partial_rotary_factor: 0.5 }, /partial_rotary_factor: expected 1, found 0.5/],
    [
      { architectures: ["LlamaForCausalLm"] },
      /architectures: "LlamaForCausalLm" is not supported. Did you mean "LlamaForCausalLM"/,
    ],
    [{ architectures: "LlamaForCausalLM" }, /architectures: expected a list of one name/],
    [{ model_type: "gpt2" }, /model_type: expected "llama" for LlamaForCausalLM, found "gpt2"/],
    [
      { architectures: undefined, model_type: "lama" },
      /model_type: expected one of .*, found "lama". Did you mean "llama"/,
    ],
    [{ quantization_config: { bits: 4 } }, /quantization_config: a quantised checkpoint/],
    [{ rope_interleaved: true }, /rope_interleaved: expected false, found true: what it asks for is not supported/],
    [{ is_encoder_decoder: true }, /is_encoder_decoder: expected false, found true/],
    [{ sliding_window: 128 }, /sliding_window: unknown key \(value 128\)/],
    [{ num_atention_heads: 4 }, /num_atention_heads: unknown key \(value 4\). Did you mean "num_attention_heads"\?/],
  ])("refuses %j", (changes, message) => {
    expect(() => parse(changes)).toThrow(ConfigError);
    expect(() => parse(changes)).toThrow(message);
  });

  it("tells all wrong values at once", () => {
    expect(() => parse({ hidden_size: 0, vocab_size: "x" })).toThrow(
      /vocab_size.*\n.*hidden_size|hidden_size.*\n.*vocab_size/,
    );
  });

  it("counts the keys that it ignores, in one warning", () => {
    const { warnings } = parse(
      { is_llama_config: true, pretraining_tp: 2, sliding_window: null, rope_interleaved: false, my_key: 3 },
      ["my_key"],
    );
    expect(warnings).toEqual([
      "configuration object: 4 keys have no effect here: pretraining_tp=2, is_llama_config=true, sliding_window=null, my_key=3",
    ]);
  });

  it("leaves out token ids beyond the vocabulary with a warning, and takes pad_token_id -1 as torch does", () => {
    const { config, warnings } = parse({ pad_token_id: -1, eos_token_id: [2, 900] });
    expect(config).toMatchObject({ paddingIdx: 415, padTokenId: undefined, eosTokenIds: [2] });
    expect(warnings).toHaveLength(2);
    expect(warnings[0]).toContain("eos_token_id 900 is not in the vocabulary (0 to 415)");
  });

  it("names file and line", async () => {
    const file = join(temporaryDirectory(), "config.json");
    writeFileSync(
      file,
      JSON.stringify({ ...base, rms_norm_eps: "x", rope_scaling: { type: "linear", factor: "2" } }, undefined, 2),
    );
    const line = Object.keys(base).indexOf("rms_norm_eps") + 2 + 2; // architectures takes 3 lines, the brace is line 1
    await expect(AutoConfig.fromPretrained(file)).rejects.toThrow(
      `${file}:${line}: rms_norm_eps: expected a number, found "x"`,
    );
  });

  it.each([
    ["no JSON", "{", /not valid JSON/],
    ["a duplicate key", '{"a": 1, "b": {"c": 1, "c": 2}}', /the key "b.c" occurs twice/],
    ["an array", "[]", /expected a JSON object/],
    ["NaN", '{"hidden_size": NaN}', /not valid JSON/],
  ])("refuses a file with %s", async (_, text, message) => {
    const file = join(temporaryDirectory(), "config.json");
    writeFileSync(file, text);
    await expect(AutoConfig.fromPretrained(file)).rejects.toThrow(message);
    await expect(AutoConfig.fromPretrained(file)).rejects.toThrow(file);
  });

  it("says which file is missing", async () => {
    await expect(AutoConfig.fromPretrained("/nowhere/model")).rejects.toThrow(
      /\/nowhere\/model\/config.json: cannot be read: ENOENT/,
    );
  });
});
