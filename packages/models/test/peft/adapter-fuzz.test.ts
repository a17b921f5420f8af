/** Adapter directories with mutations: each is refused with one clear error, or loads and computes. */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { scope, tensor, TensorError } from "@fms-accel/tensor";
import { fixturePath, temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";
import { ModelsError } from "../../src/errors.ts";
import { LoraConfig } from "../../src/peft/lora-config.ts";
import { getPeftModel, PeftModel } from "../../src/peft/peft-model.ts";
import { Chance, fuzzCount, mutateBytes, mutateJson } from "../fuzz.ts";

const CONFIG = "adapter_config.json";
const WEIGHTS = "adapter_model.safetensors";
const model = await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama"), { dtype: "float32" });
const ids = tensor(Int32Array.from([5, 9, 33]), { shape: [1, 3] });

/** What came of it: "used", or the error's message. Anything but a clear error fails the test. */
async function outcome(open: () => PeftModel | Promise<PeftModel>, touched: string): Promise<string> {
  let peft: PeftModel;
  try {
    peft = await open();
  } catch (error) {
    expect(error, `${touched}: ${String(error)}`).toBeInstanceOf(ModelsError);
    expect(error, touched).not.toBeInstanceOf(TensorError);
    return (error as Error).message;
  }
  try {
    const shape = scope(() => peft.forward({ inputIds: ids }).logits.shape);
    expect(shape).toEqual([1, 3, 416]);
  } finally {
    peft.unload();
  }
  return "used";
}

describe("mutated adapters", () => {
  it("configurations", { timeout: 600_000 }, async () => {
    const chance = new Chance(1);
    const cases = ["llama-qv", "llama-pattern", "llama-layers", "llama-regex", "llama-dora", "llama-head"];
    const outcomes = new Set<string>();
    const directory = temporaryDirectory();
    for (let count = fuzzCount(300); count > 0; count--) {
      const name = chance.of(cases);
      cpSync(fixturePath("lora", name), directory, { recursive: true });
      const original: unknown = JSON.parse(readFileSync(join(directory, CONFIG), "utf8"));
      const { value, touched } = mutateJson(original, chance);
      const json = JSON.stringify(value);
      writeFileSync(join(directory, CONFIG), json);
      const quiet = { onWarning: () => undefined };
      const options = JSON.stringify(touched);
      outcomes.add(await outcome(() => PeftModel.fromPretrained(model, directory, quiet), options));
      // the same settings for a new adapter
      outcomes.add(await outcome(() => getPeftModel(model, LoraConfig.parse(json), quiet), options));
    }
    expect(outcomes.has("used")).toBe(true);
    expect(outcomes.size).toBeGreaterThan(20);
  });

  it("bytes of both files", { timeout: 600_000 }, async () => {
    const chance = new Chance(2);
    const directory = temporaryDirectory();
    let refused = 0;
    for (let count = fuzzCount(300); count > 0; count--) {
      cpSync(fixturePath("lora", "llama-qv"), directory, { recursive: true });
      const file = join(directory, chance.of([CONFIG, WEIGHTS]));
      writeFileSync(file, mutateBytes(readFileSync(file), chance));
      const found = await outcome(
        () => PeftModel.fromPretrained(model, directory, { onWarning: () => undefined }),
        file,
      );
      refused += found === "used" ? 0 : 1;
    }
    expect(refused).toBeGreaterThan(0);
  });

  it("expressions that would take forever", async () => {
    const config = new LoraConfig({ targetModules: "(?:\\w+\\.?)*!" });
    expect(await outcome(() => getPeftModel(model, config), "")).toMatch(/takes too long/);
  });
});
