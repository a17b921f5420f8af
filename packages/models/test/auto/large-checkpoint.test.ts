import { readFileSync } from "node:fs";

import { type LlamaSizes, temporaryDirectory, writeLargeCheckpoint } from "@fms-accel/test-utilities";
import { expect, it } from "vitest";

import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";

/** Llama-3.2-1B's shape: 2.5 GB in bfloat16. */
const SIZES: LlamaSizes = {
  vocab_size: 128_256,
  hidden_size: 2048,
  intermediate_size: 8192,
  num_hidden_layers: 16,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  head_dim: 64,
};

/** MiB of memory of this process: its own, and pages of mapped files. */
function residentMemory(kind: "RssAnon" | "RssFile"): number {
  const [, kilobytes] = new RegExp(`${kind}:\\s+(\\d+) kB`).exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return Number(kilobytes) / 1024;
}

it.runIf(process.platform === "linux")("opens a checkpoint of 2.5 GB without reading or copying it", async () => {
  const directory = temporaryDirectory();
  const bytes = writeLargeCheckpoint(directory, { sizes: SIZES, dtype: "bfloat16", values: "holes" });
  expect(bytes).toBeGreaterThan(2.4e9);
  const [anonymous, mapped] = [residentMemory("RssAnon"), residentMemory("RssFile")];
  const model = await AutoModelForCausalLM.fromPretrained(directory);
  // Reading a weight brings in pages of the file, and the reading of a row no copy of the rest.
  expect(
    model
      .stateDict()
      .get("model.norm.weight")!
      .toFloat32Array()
      .every((value) => value === 0),
  ).toBe(true);
  expect(residentMemory("RssAnon") - anonymous).toBeLessThan(100);
  expect(residentMemory("RssFile") - mapped).toBeLessThan(100);
  model.dispose();
});
