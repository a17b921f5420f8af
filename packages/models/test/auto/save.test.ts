import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { tensor } from "@fms-accel/tensor";
import { fixturePath, temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";
import { savePretrained } from "../../src/auto/save-pretrained.ts";
import { CheckpointError } from "../../src/errors.ts";
import { parseByteSize, planShards } from "../../src/safetensors/shards.ts";
import type { CausalLM } from "../../src/modeling/causal-lm.ts";
import { DENSE_CASES } from "../architectures/golden.ts";

const CASES = [...DENSE_CASES, "mixtral-v5", "granitemoeshared", "qwen3_moe"];

function expectSameWeights(model: CausalLM, other: CausalLM): void {
  const state = other.stateDict();
  for (const [name, value] of model.stateDict()) {
    expect(state.get(name)!.dtype).toBe(value.dtype);
    expect(Buffer.compare(state.get(name)!.toBytes(), value.toBytes()), name).toBe(0);
  }
  expect([...state.keys()]).toEqual([...model.stateDict().keys()]);
}

describe("savePretrained", () => {
  it.each(CASES)("writes %s so that it loads back bit for bit, in one file or in shards", async (name) => {
    const model = await AutoModelForCausalLM.fromPretrained(fixturePath("models", name));
    for (const maxShardSize of [undefined, "60KB", 20_000]) {
      const directory = join(temporaryDirectory(), "deeper", "model");
      const files = savePretrained(model, directory, { maxShardSize });
      const again = await AutoModelForCausalLM.fromPretrained(directory, {
        onWarning: (message) => expect.fail(message),
      });
      expectSameWeights(model, again);
      const { raw: _, ...settings } = model.config;
      expect(again.config).toMatchObject(settings);
      expect(again.generationConfig).toEqual(model.generationConfig);
      expect(files.includes("model.safetensors")).toBe(maxShardSize === undefined);
      expect(readdirSync(directory).filter((file) => file.startsWith("."))).toEqual([]);
    }
  });

  it("writes the file of the original byte for byte", async () => {
    for (const name of ["llama", "llama3-rope"]) {
      const source = fixturePath("models", name);
      const model = await AutoModelForCausalLM.fromPretrained(source);
      const directory = temporaryDirectory();
      savePretrained(model, directory);
      const [saved, original] = [directory, source].map((folder) => readFileSync(join(folder, "model.safetensors")));
      expect(saved!.equals(original!)).toBe(true);
      expect(JSON.parse(readFileSync(join(directory, "config.json"), "utf8"))).toEqual(
        JSON.parse(readFileSync(join(source, "config.json"), "utf8")),
      );
    }
  });

  it("writes an index as transformers does", async () => {
    const model = await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama-sharded"));
    const directory = temporaryDirectory();
    savePretrained(model, directory, { maxShardSize: Math.floor(87_360 / 2.6) });
    const [ours, theirs] = [directory, fixturePath("models", "llama-sharded")].map(
      (folder) =>
        JSON.parse(readFileSync(join(folder, "model.safetensors.index.json"), "utf8")) as { metadata: unknown },
    );
    expect(ours!.metadata).toEqual(theirs!.metadata);
    for (const file of readdirSync(directory).filter((name) => name.endsWith(".safetensors"))) {
      expect(file).toMatch(/^model-0000\d-of-0000\d\.safetensors$/);
    }
  });

  it("names the dtype that the weights have", async () => {
    const model = await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama"), { dtype: "bfloat16" });
    const directory = temporaryDirectory();
    savePretrained(model, directory);
    expect(JSON.parse(readFileSync(join(directory, "config.json"), "utf8"))).toMatchObject({ torch_dtype: "bfloat16" });
    expectSameWeights(model, await AutoModelForCausalLM.fromPretrained(directory));
  });

  it("replaces what the directory held, also the model's own files", async () => {
    const directory = temporaryDirectory();
    const model = await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama"));
    savePretrained(model, directory, { maxShardSize: "50KB" });
    const again = await AutoModelForCausalLM.fromPretrained(directory);
    savePretrained(again, directory);
    expect(readdirSync(directory).toSorted()).toEqual(["config.json", "generation_config.json", "model.safetensors"]);
    expectSameWeights(again, await AutoModelForCausalLM.fromPretrained(directory));
    savePretrained(again, directory, { maxShardSize: "50KB" });
    expect(existsSync(join(directory, "model.safetensors"))).toBe(false);
    expectSameWeights(model, await AutoModelForCausalLM.fromPretrained(directory));
  });

  it("keeps generation_config.json", async () => {
    const directory = temporaryDirectory();
    const model = await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama"));
    model.generationConfig = { eos_token_id: [2, 3], temperature: 0.7 };
    savePretrained(model, directory);
    expect(JSON.parse(readFileSync(join(directory, "generation_config.json"), "utf8"))).toEqual({
      eos_token_id: [2, 3],
      temperature: 0.7,
    });
    model.generationConfig = {};
    savePretrained(model, directory);
    expect(JSON.parse(readFileSync(join(directory, "generation_config.json"), "utf8"))).toEqual({
      _from_model_config: true,
      bos_token_id: 1,
      eos_token_id: 2,
    });
    writeFileSync(join(directory, "generation_config.json"), "{");
    await expect(AutoModelForCausalLM.fromPretrained(directory)).rejects.toThrow(
      /generation_config.json: not valid JSON/,
    );
  });
});

describe("shards", () => {
  it("parses sizes in decimal units", () => {
    expect(parseByteSize("5GB")).toBe(5e9);
    expect(parseByteSize("300 mb")).toBe(3e8);
    expect(parseByteSize("1.5KB")).toBe(1500);
    expect(parseByteSize("2GiB")).toBe(2 ** 31);
    expect(parseByteSize(123)).toBe(123);
    for (const wrong of ["", "GB", "-1GB", "5 apples", "0", "1e3", "Infinity", Number.NaN]) {
      expect(() => parseByteSize(wrong)).toThrow(CheckpointError);
      expect(() => parseByteSize(wrong)).toThrow(/max_shard_size: expected a size such as "5GB"/);
    }
  });

  it("fills shards in order and gives a large tensor its own", () => {
    const sizes = { a: 6, b: 6, c: 2, d: 20, e: 2, f: 2 };
    const tensors = new Map(Object.entries(sizes).map(([name, size]) => [name, tensor(new Float32Array(size))]));
    const names = planShards(tensors, 40).map((shard) => [...shard.keys()].join(""));
    expect(names).toEqual(["a", "bc", "d", "ef"]);
  });
});
