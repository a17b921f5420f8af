import { scope, tensor } from "@fms-accel/tensor";
import { fixturePath, readJsonFixture } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { AutoConfig } from "../../src/auto/auto-config.ts";
import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";
import type { CausalLMConfig } from "../../src/config/causal-lm-config.ts";
import { ConfigError } from "../../src/errors.ts";
import { DENSE_CASES } from "../architectures/golden.ts";
import { Chance, fuzzCount, mutateJson } from "../fuzz.ts";

const CASES = [...DENSE_CASES, "gpt2-hub", "mixtral", "granitemoe", "granitemoeshared", "qwen3_moe"];
const FORMS = CASES.flatMap((name) => ["config.json", "config.v5.json"].map((file) => [name, file] as const));

/** Keys that say how the model computes: none of them may be changed without an error, another setting, or a warning. */
const MATHS = [
  "vocab_size",
  "hidden_size",
  "intermediate_size",
  "num_hidden_layers",
  "num_attention_heads",
  "num_key_value_heads",
  "head_dim",
  "hidden_act",
  "max_position_embeddings",
  "rms_norm_eps",
  "attention_bias",
  "mlp_bias",
  "tie_word_embeddings",
  "rope_theta",
  "rope_scaling",
  "rope_parameters",
  "original_max_position_embeddings",
  "pad_token_id",
  "attention_multiplier",
  "embedding_multiplier",
  "residual_multiplier",
  "logits_scaling",
  "query_pre_attn_scalar",
  "attn_logit_softcapping",
  "final_logit_softcapping",
  "hidden_activation",
  "rotary_pct",
  "rotary_emb_base",
  "rope_local_base_freq",
  "use_parallel_residual",
  "partial_rotary_factor",
  "sliding_window",
  "layer_types",
  "no_rope_layers",
  "n_embd",
  "n_head",
  "n_inner",
  "n_layer",
  "n_positions",
  "activation_function",
  "layer_norm_epsilon",
  "layer_norm_eps",
  "norm_epsilon",
  "multi_query",
  "scale_attn_weights",
  "scale_attn_by_inverse_layer_idx",
  "use_bias",
  "use_qkv_bias",
  "qk_layernorm",
  "num_local_experts",
  "num_experts",
  "num_experts_per_tok",
  "moe_intermediate_size",
  "shared_intermediate_size",
  "norm_topk_prob",
  "decoder_sparse_step",
  "mlp_only_layers",
  "router_aux_loss_coef",
  "output_router_logits",
];

function settings(config: CausalLMConfig): string {
  return JSON.stringify({ ...config, raw: undefined });
}

/** Values that mean the same as another although they are written differently: a key left out, and its default. */
function isEquivalent(key: string, original: Record<string, unknown>, mutated: Record<string, unknown>): boolean {
  // A key that was taken away, or is null, and changed no setting had its default's value.
  const unused = key === "sliding_window" && original["use_sliding_window"] === false;
  const isDefault = (mutated[key] ?? null) === null;
  return unused || isDefault || meaning(key, original, mutated) === meaning(key, mutated, mutated);
}

/** Dimensions are whole: a share of them that is larger by a billionth is the same. */
const SHARES = ["partial_rotary_factor", "rotary_pct"];

function meaning(key: string, config: Record<string, unknown>, mutated: Record<string, unknown>): string {
  const heads = Number(config["num_attention_heads"]);
  const defaults: Record<string, unknown> = {
    head_dim: Number(config["hidden_size"]) / heads,
    num_key_value_heads: heads,
    attention_bias: false,
    n_inner: 4 * Number(config["n_embd"]),
    partial_rotary_factor: 1,
    mlp_bias: false,
    tie_word_embeddings: false,
    original_max_position_embeddings:
      (config["rope_parameters"] as Record<string, unknown> | null | undefined)?.[key] ??
      config["max_position_embeddings"],
  };
  const value = config[key] ?? defaults[key] ?? null;
  if (SHARES.includes(key) && typeof value === "number") return value.toFixed(6);
  return key === "rope_scaling" || key === "rope_parameters" ? ropeMeaning(value, mutated[key]) : JSON.stringify(value);
}

/** A section of RoPE with the settings that may be left out, or be null; without those that its mutated form leaves to their defaults. */
function ropeMeaning(section: unknown, mutated: unknown): string {
  if (typeof section !== "object" || section === null || Array.isArray(section)) {
    return JSON.stringify(section);
  }
  const other = (typeof mutated === "object" && mutated !== null ? mutated : {}) as Record<string, unknown>;
  if ("full_attention" in section) {
    // Gemma 3: one section for each kind of layer.
    return Object.entries(section)
      .map(([kind, settings]) => `${kind} ${ropeMeaning(settings, other[kind])}`)
      .toSorted()
      .join();
  }
  const leftOut = ["partial_rotary_factor", "original_max_position_embeddings"].filter(
    (key) => (other[key] ?? null) === null,
  );
  const written = Object.entries(section)
    .filter(([key, value]) => value !== null && key !== "finetuned" && !leftOut.includes(key))
    .map(([key, value]): [string, unknown] => [
      key,
      SHARES.includes(key) && typeof value === "number" ? value.toFixed(6) : value,
    ]);
  const { type, ...settings } = Object.fromEntries<unknown>(written);
  const kind = settings["rope_type"] ?? type ?? "default";
  const yarn = kind === "yarn" ? { beta_fast: 32, beta_slow: 1, truncate: true } : {};
  const whole = { ...yarn, ...settings, rope_type: kind };
  const sorted = Object.entries(whole).sort(([a], [b]) => (a < b ? -1 : 1));
  return sorted.length === 1 && kind === "default" ? "null" : JSON.stringify(sorted);
}

/** Upper estimate of the parameters of a model, to keep the ones that are made small. */
function parameterEstimate(config: CausalLMConfig): number {
  const { raw, hiddenSize, numHiddenLayers, vocabSize, headDim, numAttentionHeads } = config;
  const size = (key: string): number => Number(raw[key] ?? 0);
  const experts = 1 + Math.max(size("num_local_experts"), size("num_experts"));
  const widths = ["intermediate_size", "moe_intermediate_size", "shared_intermediate_size", "n_inner"].map(size);
  const intermediate = experts * Math.max(4 * hiddenSize, ...widths);
  const positions = raw["n_positions"] === undefined ? 0 : config.maxPositionEmbeddings;
  return (
    (2 * vocabSize + positions) * hiddenSize +
    numHiddenLayers * hiddenSize * (4 * headDim * numAttentionHeads + 3 * intermediate)
  );
}

/** Whether the model of a configuration computes. */
function isUsable(config: CausalLMConfig): boolean {
  const model = AutoModelForCausalLM.fromConfig(config, { dtype: "float32", onWarning: () => {} });
  const ids = [0, 1, 0, 1, 1].slice(0, config.maxPositionEmbeddings).map((id) => id % config.vocabSize);
  const logits = scope(() => model.forward({ inputIds: tensor([ids], { dtype: "int32" }) }).logits.toFloat32Array());
  model.dispose();
  return logits.every(Number.isFinite);
}

const ROUNDS = fuzzCount(600);

describe("mutated config.json", () => {
  it("gives a clear error, or the settings that it says", { timeout: 120_000 + 200 * ROUNDS }, () => {
    const chance = new Chance(20_251);
    const outcomes = { refused: 0, accepted: 0, made: 0 };
    const problems: string[] = [];
    for (let round = ROUNDS; round > 0; round--) {
      const [name, file] = chance.of(FORMS);
      const original = readJsonFixture<Record<string, unknown>>("models", name, file);
      const { value, touched } = mutateJson(original, chance);
      const warnings: string[] = [];
      const describeRound = (): string => `${name}/${file}: ${touched.join(", ")}: ${JSON.stringify(value)}`;
      let config: CausalLMConfig;
      try {
        config = AutoConfig.fromObject(value as Record<string, unknown>, {
          onWarning: (message) => warnings.push(message),
        });
      } catch (error) {
        const { message } = error as Error;
        if (!(error instanceof ConfigError) || message.length <= 20) problems.push(`${message}: ${describeRound()}`);
        outcomes.refused++;
        continue;
      }
      outcomes.accepted++;
      const before = settings(AutoConfig.fromObject(original, { onWarning: () => {} }));
      const same = settings(config) === before;
      const changed = MATHS.filter((key) => !isEquivalent(key, original, value as Record<string, unknown>));
      if (same && warnings.length === 0 && changed.length > 0) {
        problems.push(`a change without effect, error or warning: ${changed.join(", ")}; ${describeRound()}`);
      }
      if (parameterEstimate(config) < 2e6 && config.numHiddenLayers < 20) {
        outcomes.made++;
        try {
          if (!isUsable(config)) problems.push(`logits that are not finite: ${describeRound()}`);
        } catch (error) {
          problems.push(`${String(error)}: ${describeRound()}`);
        }
      }
    }
    expect(problems).toEqual([]);
    expect(outcomes.refused).toBeGreaterThan(10);
    expect(outcomes.made).toBeGreaterThan(10);
  });

  it("is the file that the fixtures have", async () => {
    await expect(AutoConfig.fromPretrained(fixturePath("models", "llama"))).resolves.toMatchObject({ hiddenSize: 32 });
  });
});
