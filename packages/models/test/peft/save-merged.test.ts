/** Merging while saving (`saveMerged`) writes what merging and then saving does, to the byte. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { add, Generator, mul, randn, scope } from "@fms-accel/tensor";
import { fixturePath, temporaryDirectory } from "@fms-accel/test-utilities";
import { expect, it } from "vitest";

import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";
import { savePretrained } from "../../src/auto/save-pretrained.ts";
import { LoraConfig, type LoraConfigOptions } from "../../src/peft/lora-config.ts";
import { getPeftModel, type PeftModel } from "../../src/peft/peft-model.ts";

interface Case {
  readonly name: string;
  readonly model: string;
  readonly options: LoraConfigOptions;
  readonly maxShardSize?: string;
  /** What happens to the model before it is merged. */
  readonly prepare?: (model: PeftModel) => void;
}

const FUSED = { targetParameters: ["experts.gate_up_proj", "experts.down_proj"] };

const CASES: readonly Case[] = [
  { name: "all linear layers", model: "llama", options: { targetModules: "all-linear" } },
  { name: "DoRA, in shards", model: "llama", options: { useDora: true }, maxShardSize: "30KB" },
  { name: "biases", model: "qwen2", options: { bias: "all", targetModules: ["q_proj"] } },
  { name: "Conv1D", model: "gpt2", options: { targetModules: ["c_attn", "mlp.c_proj"] } },
  { name: "an embedding that is tied to the head", model: "gemma", options: { targetModules: ["embed_tokens"] } },
  { name: "a head that is tied to the embedding", model: "gemma", options: { targetModules: ["lm_head", "v_proj"] } },
  {
    name: "both, alike",
    model: "gemma",
    options: { targetModules: ["lm_head", "q_proj"], ensureWeightTying: true },
  },
  {
    name: "modules to save",
    model: "llama",
    options: { modulesToSave: ["lm_head", "norm"], targetModules: ["q_proj"] },
  },
  { name: "experts in a list", model: "mixtral", options: { ...FUSED, targetModules: ["q_proj"] } },
  { name: "experts in one tensor", model: "granitemoe", options: { ...FUSED, targetModules: ["q_proj"] } },
  {
    name: "some of the layers",
    model: "granitemoe",
    options: { ...FUSED, targetModules: ["v_proj"] },
    maxShardSize: "20KB",
  },
  {
    name: "two adapters, one of them merged already",
    model: "llama",
    options: { targetModules: ["q_proj"] },
    prepare(model) {
      model.mergeAdapter();
      model.addAdapter(new LoraConfig({ r: 3, targetModules: ["q_proj", "up_proj"] }), { adapterName: "second" });
      model.setAdapter(["default", "second"]);
    },
  },
];

async function adapted({ model: name, options, prepare }: Case, lowMemory: boolean): Promise<PeftModel> {
  const base = await AutoModelForCausalLM.fromPretrained(fixturePath("models", name), { dtype: "bfloat16", lowMemory });
  const config = new LoraConfig({ r: 2, ...options });
  const model = getPeftModel(base, config, { generator: new Generator(3), onWarning: () => {} });
  const generator = new Generator(4);
  for (const [, tensor] of model.namedParameters()) {
    if (tensor.requiresGrad) {
      scope(() => tensor.copyFrom(add(tensor, mul(randn(tensor.shape, { generator }), 0.1)).detach()));
    }
  }
  prepare?.(model);
  return model;
}

function contents(directory: string): Map<string, Buffer> {
  return new Map(
    readdirSync(directory)
      .sort()
      .map((file) => [file, readFileSync(join(directory, file))]),
  );
}

it.each(CASES)("$name ($model)", async (testCase) => {
  const [whole, pieces] = [temporaryDirectory(), temporaryDirectory()];
  const { maxShardSize } = testCase;
  const merged = (await adapted(testCase, false)).mergeAndUnload();
  const files = savePretrained(merged, whole, { maxShardSize });
  const model = await adapted(testCase, true);
  expect(model.saveMerged(pieces, { maxShardSize })).toEqual(files);
  expect(contents(pieces)).toEqual(contents(whole));
  expect(model.baseModel.config).toEqual(merged.config);
  // Something was merged at all.
  const plain = temporaryDirectory();
  savePretrained((await adapted(testCase, true)).unload(), plain, { maxShardSize });
  expect(contents(plain)).not.toEqual(contents(whole));
});
