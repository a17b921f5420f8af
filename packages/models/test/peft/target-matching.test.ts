import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

import { defaultTargetModules } from "../../src/peft/default-target-modules.ts";
import { LoraConfig, type LoraConfigOptions } from "../../src/peft/lora-config.ts";
import { findMinimalTargetModules } from "../../src/peft/minimal-target-modules.ts";
import { compilePatterns, compileTargets, isModuleToSave } from "../../src/peft/target-matching.ts";

const FIXTURES = new URL("../../../../packages-private/fixtures/lora/", import.meta.url);

interface Expected {
  scaling_by_module: Record<string, number>;
  adapter_tensors: Record<string, number[]>;
}

const expected = (name: string): Expected =>
  JSON.parse(readFileSync(new URL(`${name}/expected.json`, FIXTURES), "utf8")) as Expected;
const configOf = (name: string): LoraConfig =>
  LoraConfig.parse(readFileSync(new URL(`${name}/adapter_config.json`, FIXTURES), "utf8"));

/** Every module path of a decoder with these leaves, and all the paths above them. */
function moduleNames(layers: string, count: number, leaves: readonly string[], others: readonly string[]): string[] {
  const names = new Set<string>();
  const add = (path: string): void => {
    const parts = path.split(".");
    parts.forEach((_, index) => names.add(parts.slice(0, index + 1).join(".")));
  };
  for (let layer = 0; layer < count; layer++) {
    leaves.forEach((leaf) => add(`${layers}.${layer}.${leaf}`));
  }
  others.forEach(add);
  return [...names];
}

const attention = ["q_proj", "k_proj", "v_proj", "o_proj"].map((name) => `self_attn.${name}`);
const norms = ["input_layernorm", "post_attention_layernorm"];
const decoder = [...attention, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", ...norms];
const around = ["model.embed_tokens", "model.norm", "lm_head"];
const llama = moduleNames("model.layers", 2, decoder, around);
const mixtral = moduleNames("model.layers", 2, [...attention, "mlp.gate", "mlp.experts.0.w1", ...norms], around);
const gpt = moduleNames(
  "transformer.h",
  2,
  ["ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"],
  ["transformer.wte", "transformer.wpe", "transformer.ln_f", "lm_head"],
);

const targetsOf = (options: LoraConfigOptions, names: readonly string[] = llama): string[] => {
  const match = compileTargets(new LoraConfig(options));
  return names.filter((name) => match(name) === "target");
};

describe("which modules get an adapter", () => {
  it.each([
    ...["all-linear", "bias-all", "bias-lora_only", "dora", "dora-rslora", "embed", "head"].map(
      (name) => [`llama-${name}`, llama] as const,
    ),
    ...["layers", "pattern", "qv", "regex", "rslora"].map((name) => [`llama-${name}`, llama] as const),
    ...["granite", "granite-dora"].map((name) => [name, llama] as const),
    ...["gpt2", "gpt2-dora", "gpt_bigcode", "gpt_bigcode-bias"].map((name) => [name, gpt] as const),
    ["mixtral-attention", mixtral] as const,
  ])("%s: the modules of the fixture, with its ranks and scalings", (name, names) => {
    const config = configOf(name);
    const { scaling_by_module: scaling, adapter_tensors: shapes } = expected(name);
    const match = compileTargets(config);
    const targets = names.filter((module) => match(module) === "target");
    expect(targets.toSorted()).toEqual(Object.keys(scaling).toSorted());

    const ranks = compilePatterns(config.rankPattern, "rank_pattern");
    const alphas = compilePatterns(config.alphaPattern, "alpha_pattern");
    for (const module of targets) {
      const r = ranks.find(module) ?? config.r;
      expect(shapes[`base_model.model.${module}.lora_A.weight`]?.[0]).toBe(r);
      const alpha = alphas.find(module) ?? config.loraAlpha;
      expect(config.useRslora ? alpha / Math.sqrt(r) : alpha / r).toBeCloseTo(scaling[module] ?? NaN, 12);
    }
    expect([...ranks.unused(), ...alphas.unused()]).toEqual([]);
  });

  it("a list matches whole names and endings behind a point", () => {
    expect(targetsOf({ targetModules: ["q_proj"] })).toEqual([
      "model.layers.0.self_attn.q_proj",
      "model.layers.1.self_attn.q_proj",
    ]);
    expect(targetsOf({ targetModules: ["proj"] })).toEqual([]);
    expect(targetsOf({ targetModules: ["lm_head"] })).toEqual(["lm_head"]);
  });

  it("an expression matches whole names", () => {
    expect(targetsOf({ targetModules: "q_proj" })).toEqual([]);
    expect(targetsOf({ targetModules: ".*1\\..*(up|down)_proj" })).toEqual([
      "model.layers.1.mlp.up_proj",
      "model.layers.1.mlp.down_proj",
    ]);
  });

  it("exclusions and modules to save come first", () => {
    expect(
      targetsOf({
        targetModules: ["q_proj", "lm_head"],
        excludeModules: ["layers.0.self_attn.q_proj"],
        modulesToSave: ["lm_head"],
      }),
    ).toEqual(["model.layers.1.self_attn.q_proj"]);
    expect(targetsOf({ targetModules: ["q_proj"], excludeModules: ".*\\.0\\..*" })).toEqual([
      "model.layers.1.self_attn.q_proj",
    ]);
    // all inside a module to save is excluded
    expect(targetsOf({ targetModules: ["q_proj", "up_proj"], modulesToSave: ["self_attn"] })).toEqual([
      "model.layers.0.mlp.up_proj",
      "model.layers.1.mlp.up_proj",
    ]);
    const match = compileTargets(new LoraConfig({ targetModules: ["q_proj"], excludeModules: ["up_proj"] }));
    expect(match("model.layers.0.mlp.up_proj")).toBe("excluded");
    expect(match("model.layers.0.mlp.down_proj")).toBe("none");
  });

  it("layers narrow endings down, not whole names", () => {
    const options = { targetModules: ["q_proj", "model.layers.0.mlp.up_proj"], layersToTransform: 1 };
    expect(targetsOf(options)).toEqual(["model.layers.0.mlp.up_proj", "model.layers.1.self_attn.q_proj"]);
    expect(targetsOf({ ...options, layersPattern: ["blocks", "layers"] })).toHaveLength(2);
    expect(targetsOf({ ...options, layersPattern: "blocks" })).toEqual(["model.layers.0.mlp.up_proj"]);
    expect(targetsOf({ targetModules: ["w1"], layersToTransform: [1] }, mixtral)).toEqual([
      "model.layers.1.mlp.experts.0.w1",
    ]);
    expect(targetsOf({ targetModules: ["q_proj"], layersToTransform: [] })).toHaveLength(2);
  });

  it("the first pattern that matches counts", () => {
    const patterns = compilePatterns(
      { "layers\\.\\d+\\.mlp.up_proj": 3, up_proj: 5, "q|k_proj": 7, nothing: 1 },
      "rank_pattern",
    );
    expect(patterns.find("model.layers.0.mlp.up_proj")).toBe(3);
    expect(patterns.find("up_proj")).toBe(5);
    expect(patterns.find("a.k_proj")).toBe(7);
    expect(patterns.find("a.my_k_proj")).toBeUndefined();
    expect(patterns.unused()).toEqual(["nothing"]);
  });

  it("a module to save needs no point before its name", () => {
    expect(llama.filter((name) => isModuleToSave(name, ["norm"]))).toEqual([
      "model.layers.0.input_layernorm",
      "model.layers.0.post_attention_layernorm",
      "model.layers.1.input_layernorm",
      "model.layers.1.post_attention_layernorm",
      "model.norm",
    ]);
  });

  it("long lists are condensed to the fewest endings", () => {
    const names = moduleNames("model.layers", 30, decoder, around);
    const linear = names.filter((name) => name.endsWith("_proj"));
    const others = names.filter((name) => !linear.includes(name));
    expect([...findMinimalTargetModules(linear, others)].sort()).toEqual([
      "down_proj",
      "gate_proj",
      "k_proj",
      "o_proj",
      "q_proj",
      "up_proj",
      "v_proj",
    ]);
    // q_proj of layer 0 alone cannot be told by a short ending
    expect(findMinimalTargetModules(["a.0.q", "a.0.k"], ["a.1.q", "a"])).toEqual(["k", "0.q"]);
  });

  it("defaults exist where PEFT has them", () => {
    expect(defaultTargetModules("llama")).toEqual(["q_proj", "v_proj"]);
    expect(() => defaultTargetModules("granite")).toThrow(/no default for model type "granite".*all-linear/);
  });
});
