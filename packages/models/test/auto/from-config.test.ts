import { fixturePath, readJsonFixture } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { AutoConfig } from "../../src/auto/auto-config.ts";
import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";
import { ConfigError } from "../../src/errors.ts";
import type { CausalLM } from "../../src/modeling/causal-lm.ts";

const settings = {
  ...readJsonFixture<Record<string, unknown>>("models", "llama-bias", "config.json"),
  hidden_size: 128,
  intermediate_size: 200,
};

function values(model: CausalLM): Map<string, Float32Array> {
  return new Map([...model.namedParameters()].map(([name, parameter]) => [name, parameter.toFloat32Array()]));
}

const draw = (seed: number): Map<string, Float32Array> => values(AutoModelForCausalLM.fromConfig(settings, { seed }));

describe("AutoModelForCausalLM.fromConfig", () => {
  it("initialises as Hugging Face does", () => {
    const model = AutoModelForCausalLM.fromConfig({ ...settings, initializer_range: 0.05 }, { seed: 3 });
    for (const [name, numbers] of values(model)) {
      if (name.endsWith("bias")) {
        expect(
          numbers.every((value) => value === 0),
          name,
        ).toBe(true);
      } else if (name.includes("norm")) {
        expect(
          numbers.every((value) => value === 1),
          name,
        ).toBe(true);
      } else {
        const mean = numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
        const deviation = Math.sqrt(numbers.reduce((sum, value) => sum + (value - mean) ** 2, 0) / numbers.length);
        // Six standard errors of the mean and of the deviation.
        expect(Math.abs(mean), name).toBeLessThan((6 * 0.05) / Math.sqrt(numbers.length));
        expect(Math.abs(deviation - 0.05), name).toBeLessThan((6 * 0.05) / Math.sqrt(2 * numbers.length) + 0.05 / 128);
      }
    }
    const embedding = values(model).get("model.embed_tokens.weight")!;
    const row = (index: number): Float32Array => embedding.subarray(index * 128, (index + 1) * 128);
    expect(row(7).every((value) => value === 0)).toBe(true); // pad_token_id
    expect(row(6).every((value) => value !== 0)).toBe(true);
  });

  it.each(["gpt2", "gpt_bigcode"])("makes what %s adds to the residual smaller, by the number of layers", (name) => {
    const json = readJsonFixture<Record<string, unknown>>("models", name, "config.json");
    const model = AutoModelForCausalLM.fromConfig(
      { ...json, n_embd: 128, n_layer: 8, initializer_range: 0.04 },
      {
        dtype: "float32",
      },
    );
    for (const [parameter, numbers] of values(model)) {
      if (!/h\.\d+\..*weight$/.test(parameter) || parameter.includes("ln_")) {
        continue;
      }
      const deviation = Math.sqrt(numbers.reduce((sum, value) => sum + value ** 2, 0) / numbers.length);
      const expected = parameter.includes("c_proj") ? 0.01 : 0.04;
      expect(Math.abs(deviation / expected - 1), parameter).toBeLessThan(6 / Math.sqrt(2 * numbers.length));
    }
  });

  it("gives the same weights for the same seed only", () => {
    const [first, again, other] = [draw(1), draw(1), draw(2)];
    const name = "model.layers.1.mlp.up_proj.weight";
    expect(first).toEqual(again);
    expect(other.get(name)).not.toEqual(first.get(name));
    expect(first.get(name)).not.toEqual(first.get("model.layers.0.mlp.up_proj.weight"));
  });

  it("takes a configuration that was read, and the dtype that it names", async () => {
    const config = await AutoConfig.fromPretrained(fixturePath("models", "llama-sharded"));
    const model = AutoModelForCausalLM.fromConfig(config);
    expect(new Set([...model.parameters()].map((parameter) => parameter.dtype))).toEqual(new Set(["bfloat16"]));
    const wide = AutoModelForCausalLM.fromConfig(config, { dtype: "float32" });
    expect([...wide.parameters()].every((parameter) => parameter.dtype === "float32" && parameter.requiresGrad)).toBe(
      true,
    );
  });

  it("refuses a wrong configuration", () => {
    expect(() => AutoModelForCausalLM.fromConfig({ ...settings, hidden_size: -1 })).toThrow(ConfigError);
    expect(() => AutoModelForCausalLM.fromConfig({ model_type: "rwkv" })).toThrow(
      /model_type: expected one of .*\bllama\b.*, found "rwkv"/,
    );
  });
});
