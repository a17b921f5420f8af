/** Layouts and configurations of models with experts. */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { cat, scope, stack, type Tensor, tensor } from "@fms-accel/tensor";
import { fixturePath, readJsonFixture, temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { AutoConfig } from "../../src/auto/auto-config.ts";
import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";
import { modelTensors, savePretrained } from "../../src/auto/save-pretrained.ts";
import { CheckpointError, ConfigError } from "../../src/errors.ts";
import type { CausalLM } from "../../src/modeling/causal-lm.ts";
import { writeSafetensors } from "../../src/safetensors/writer.ts";
import { openModel } from "./golden.ts";

const CASES = ["mixtral", "granitemoe", "granitemoeshared", "qwen3_moe"];

/** A copy of a case, changed. */
function copyOf(name: string, settings: Record<string, unknown>, tensors?: ReadonlyMap<string, Tensor>): string {
  const directory = join(temporaryDirectory(), name);
  cpSync(fixturePath("models", name), directory, { recursive: true });
  const config = readJsonFixture<Record<string, unknown>>("models", name, "config.json");
  writeFileSync(join(directory, "config.json"), JSON.stringify({ ...config, ...settings }));
  if (tensors !== undefined) {
    writeSafetensors(join(directory, "model.safetensors"), tensors);
  }
  return directory;
}

/** The tensors of a model with those of the experts of each layer put together, as transformers 5 keeps them. */
function fused(
  model: CausalLM,
  block: string,
  [gate, up, down]: readonly [string, string, string],
): Map<string, Tensor> {
  const tensors = modelTensors(model);
  const all = new Map([...tensors].filter(([name]) => !name.includes(".experts.")));
  for (let layer = 0; layer < model.config.numHiddenLayers; layer++) {
    const experts = [0, 1, 2, 3].map((expert) => `model.layers.${layer}.${block}.experts.${expert}`);
    const weight = (expert: string, field: string): Tensor => tensors.get(`${expert}.${field}.weight`)!;
    const both = experts.map((expert) => cat([weight(expert, gate), weight(expert, up)], 0));
    all.set(`model.layers.${layer}.mlp.experts.gate_up_proj`, stack(both, 0));
    all.set(
      `model.layers.${layer}.mlp.experts.down_proj`,
      stack(
        experts.map((expert) => weight(expert, down)),
        0,
      ),
    );
  }
  return all;
}

/** Weights in a form that is quick to compare. */
function bytesByName(model: CausalLM): Map<string, string> {
  return new Map(
    [...modelTensors(model)].map(([name, weight]) => [name, Buffer.from(weight.toBytes()).toString("base64")]),
  );
}

const open = (directory: string): Promise<CausalLM> => AutoModelForCausalLM.fromPretrained(directory);

/** Names of the tensors in a safetensors file. */
function namesIn(file: string): string[] {
  const bytes = readFileSync(file);
  const names = Object.keys(JSON.parse(bytes.toString("utf8", 8, 8 + Number(bytes.readBigUInt64LE(0)))) as object);
  return names.filter((name) => name !== "__metadata__").sort();
}

function refused(name: string, change: Record<string, unknown>, message: RegExp): void {
  const json = { ...readJsonFixture<Record<string, unknown>>("models", name, "config.json"), ...change };
  expect(() => AutoConfig.fromObject(json)).toThrow(ConfigError);
  expect(() => AutoConfig.fromObject(json)).toThrow(message);
}

describe("layouts", () => {
  it("opens Mixtral's fused layout as the published one, and saves the published one", async () => {
    const model = await openModel("mixtral-v5");
    expect(bytesByName(model)).toEqual(bytesByName(await openModel("mixtral")));
    const directory = join(temporaryDirectory(), "saved");
    savePretrained(model, directory);
    const published = fixturePath("models", "mixtral", "model.safetensors");
    expect(namesIn(join(directory, "model.safetensors"))).toEqual(namesIn(published));
  });

  it("opens Qwen3-MoE's fused layout as the published one, in another dtype too", async () => {
    const model = await openModel("qwen3_moe");
    const directory = copyOf("qwen3_moe", {}, fused(model, "mlp", ["gate_proj", "up_proj", "down_proj"]));
    for (const dtype of ["float32", "bfloat16"] as const) {
      const again = await AutoModelForCausalLM.fromPretrained(directory, { dtype });
      expect(bytesByName(again)).toEqual(bytesByName(await openModel("qwen3_moe", { dtype })));
    }
  });

  it("refuses weights that are there twice, that cannot be cut, or that are too many", async () => {
    const model = await openModel("mixtral");
    const names = ["w1", "w3", "w2"] as const;
    const both = new Map([...modelTensors(model), ...fused(model, "block_sparse_moe", names)]);
    const odd = fused(model, "block_sparse_moe", names);
    odd.set("model.layers.0.mlp.experts.gate_up_proj", tensor(new Float32Array(4 * 79 * 32), { shape: [4, 79, 32] }));
    await expect(open(copyOf("mixtral", {}, both))).rejects.toThrow(
      /down_proj" in .* holds "model\.layers\.0\.block_sparse_moe\.experts\.0\.w2\.weight", which the checkpoint has twice/,
    );
    await expect(open(copyOf("mixtral", {}, odd))).rejects.toThrow(
      /8 tensors missing: .*experts\.0\.w1[^]*1 tensor not part of the model: model\.layers\.0\.mlp\.experts\.gate_up_proj \[4, 79, 32\]/,
    );
    await expect(open(copyOf("mixtral-v5", { num_local_experts: 3 }))).rejects.toThrow(CheckpointError);
    await expect(open(copyOf("mixtral-v5", { num_local_experts: 5 }))).rejects.toThrow(/missing: .*experts\.4\.w1/);
  });
});

describe("configurations", () => {
  it.each(CASES)("reads both forms of %s alike", async (name) => {
    const read = async (file: string): Promise<object> => {
      const json = readJsonFixture<Record<string, unknown>>("models", name, file);
      const { raw: _, ...settings } = AutoConfig.fromObject(json, { onWarning: (message) => expect.fail(message) });
      return settings;
    };
    const settings = await read("config.json");
    expect(await read("config.v5.json")).toEqual(settings);
    expect(settings).toMatchObject({ numExperts: 4, numExpertsPerToken: 2, routerAuxLossCoef: 0.05 });
  });

  it("takes either name of Qwen3-MoE's number of experts, if they agree", () => {
    const { num_local_experts: count, ...rest } = readJsonFixture<Record<string, unknown>>(
      "models",
      "qwen3_moe",
      "config.json",
    );
    expect(AutoConfig.fromObject({ ...rest, num_experts: count })).toMatchObject({ numExperts: 4 });
    expect(() => AutoConfig.fromObject(rest)).toThrow(/num_experts: expected a number, found nothing/);
    expect(() => AutoConfig.fromObject({ ...rest, num_experts: 8, num_local_experts: 4 })).toThrow(
      /num_experts: contradicts num_local_experts \(4\), found 8/,
    );
  });

  it("refuses what cannot be computed", () => {
    for (const name of CASES) {
      refused(name, { num_experts_per_tok: 5 }, /num_experts_per_tok: expected at most the number of experts \(4\)/);
      refused(name, { num_experts_per_tok: 0 }, /num_experts_per_tok: expected at least 1, found 0/);
    }
    refused("mixtral", { router_jitter_noise: 0.1 }, /router_jitter_noise: expected 0, found 0.1/);
    refused("granitemoeshared", { shared_intermediate_size: undefined }, /shared_intermediate_size: .*missing/);
  });

  it("gives Qwen3-MoE plain MLPs where the file wants no experts", () => {
    const json = readJsonFixture<Record<string, unknown>>("models", "qwen3_moe", "config.json");
    const layersWithExperts = (change: Record<string, unknown>): string[] => {
      const model = AutoModelForCausalLM.fromConfig({ ...json, num_hidden_layers: 4, ...change });
      const inputs = { inputIds: tensor([[1, 2, 3]], { dtype: "int32" }) };
      const output = scope(() => model.forward({ ...inputs, labels: inputs.inputIds }).loss!.item());
      expect(output).toBeGreaterThan(0);
      return [...model.namedModules()].flatMap(([path]) => /layers\.(\d)\.mlp\.gate$/.exec(path)?.[1] ?? []);
    };
    expect(layersWithExperts({})).toEqual(["0", "1", "2", "3"]);
    expect(layersWithExperts({ decoder_sparse_step: 2 })).toEqual(["1", "3"]);
    expect(layersWithExperts({ mlp_only_layers: [0, 3] })).toEqual(["1", "2"]);
    expect(layersWithExperts({ mlp_only_layers: [0, 1, 2, 3] })).toEqual([]);
  });

  it("gives GraniteMoeShared no shared MLP where its width is 0", () => {
    const json = readJsonFixture<Record<string, unknown>>("models", "granitemoeshared", "config.json");
    const names = (width: number): string[] =>
      [...AutoModelForCausalLM.fromConfig({ ...json, shared_intermediate_size: width }).namedParameters()]
        .map(([name]) => name)
        .filter((name) => name.includes("shared_mlp"));
    expect(names(24)).toHaveLength(4);
    expect(names(0)).toEqual([]);
  });

  it("makes new weights of fused experts as Hugging Face does", () => {
    const json = readJsonFixture<Record<string, unknown>>("models", "granitemoe", "config.json");
    const make = (seed: number): Float32Array => {
      const model = AutoModelForCausalLM.fromConfig(json, { seed });
      return modelTensors(model).get("model.layers.1.block_sparse_moe.input_linear.weight")!.toFloat32Array();
    };
    const weights = make(1);
    const deviation = Math.sqrt(weights.reduce((sum, value) => sum + value ** 2, 0) / weights.length);
    expect(deviation).toBeGreaterThan(0.0195);
    expect(deviation).toBeLessThan(0.0205);
    expect(make(1)).toEqual(weights);
    expect(make(2)).not.toEqual(weights);
  });
});
