import { readFileSync } from "node:fs";
import { Embedding, LayerNorm, Linear, Module } from "@fms-accel/tensor";
import { describe, expect, it } from "vitest";
import { createParameterGroups, isDecayedName } from "../../src/optimizer/parameter-groups.ts";

interface Curve {
  weight_decay: { decayed: string[]; not_decayed: string[] };
}

const curve = JSON.parse(
  readFileSync(new URL("../../../../packages-private/fixtures/curves/full-llama/curve.json", import.meta.url), "utf8"),
) as Curve;

class Block extends Module {
  readonly proj: Linear = new Linear(2, 3);
  readonly final_scale: LayerNorm = new LayerNorm(3);
}

class Model extends Module {
  readonly embed_tokens: Embedding = new Embedding(5, 2);
  readonly blocks: Block[] = [new Block(), new Block()];
}

describe("weight decay", () => {
  it("leaves out the names that Hugging Face's Trainer leaves out", () => {
    for (const name of curve.weight_decay.decayed) expect([name, isDecayedName(name)]).toEqual([name, true]);
    for (const name of curve.weight_decay.not_decayed) expect([name, isDecayedName(name)]).toEqual([name, false]);
    expect(curve.weight_decay.not_decayed.length).toBeGreaterThan(0);
  });

  it.each([
    ["model.layers.0.self_attn.q_norm.weight", false],
    ["model.norm.weight", false],
    ["model.normalizer.weight", true],
    ["transformer.h.0.ln_1.weight", true],
    ["model.layers.0.self_attn.q_proj.bias", false],
    ["model.layers.0.RMSNorm.weight", false],
    ["model.embed_tokens.weight", true],
  ])("%s", (name, decays) => {
    expect(isDecayedName(name)).toBe(decays);
  });

  it("leaves out LayerNorm modules of any name, and frozen parameters", () => {
    const model = new Model();
    model.blocks[1]?.requiresGrad_(false);
    const [decayed, rest] = createParameterGroups(model, 0.1);
    expect(decayed?.names).toEqual(["embed_tokens.weight", "blocks.0.proj.weight"]);
    expect(decayed?.weightDecay).toBe(0.1);
    expect(rest?.names).toEqual(["blocks.0.proj.bias", "blocks.0.final_scale.weight", "blocks.0.final_scale.bias"]);
    expect(rest?.weightDecay).toBe(0);
    expect(rest?.params.map(({ shape }) => shape)).toEqual([[3], [3], [3]]);
  });
});
