/**
 * bfloat16 against the reference's bfloat16: how far logits are from those in float32, on the batch of the fixture and over many inputs. Of one
 * input alone which value is rounded up and which down is chance, and decides by some percent whose difference is larger.
 */
import { noGrad, tensor } from "@fms-accel/tensor";
import { readJsonFixture } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import type { CausalLM } from "../../src/modeling/causal-lm.ts";
import { batch, DENSE_CASES, golden, inScope, maskedRows, openModel } from "./golden.ts";

interface Differences {
  /** Mean and largest difference of each input. */
  readonly mean_abs: readonly number[];
  readonly max_abs: readonly number[];
}

const reference = readJsonFixture<{
  readonly inputs: number;
  readonly length: number;
  readonly cases: Readonly<Record<string, Differences>>;
}>("bf16-differences.json");

/** The inputs of scripts/compare/bf16_differences.py, one a row. */
function inputIds(vocabSize: number): Int32Array {
  const { inputs, length } = reference;
  return Int32Array.from({ length: inputs * length }, (_, index) => {
    const [input, at] = [Math.floor(index / length), index % length];
    return (at * (37 + 2 * input) + 11 * input + at * at * 7) % vocabSize;
  });
}

function logits(model: CausalLM): Float32Array {
  const { inputs, length } = reference;
  const ids = inputIds(model.config.vocabSize);
  return inScope(() =>
    noGrad(() => model.forward({ inputIds: tensor(ids, { shape: [inputs, length] }) }).logits.toFloat32Array()),
  );
}

async function ownDifferences(name: string): Promise<Differences> {
  const exact = logits(await openModel(name));
  const rounded = logits(await openModel(name, { dtype: "bfloat16" }));
  const count = exact.length / reference.inputs;
  const rows = Array.from({ length: reference.inputs }, (_, row) =>
    exact.subarray(row * count, (row + 1) * count).map((value, at) => Math.abs(value - rounded[row * count + at]!)),
  );
  return {
    mean_abs: rows.map((row) => row.reduce((sum, value) => sum + value, 0) / count),
    max_abs: rows.map((row) => row.reduce((a, b) => Math.max(a, b), 0)),
  };
}

/** Geometric mean of ours / theirs over the inputs, and what chance may add to it: three standard errors. */
function ratio(ours: readonly number[], theirs: readonly number[]): { value: number; chance: number } {
  const logs = ours.map((value, index) => Math.log(value / theirs[index]!));
  const mean = logs.reduce((sum, value) => sum + value, 0) / logs.length;
  const variance = logs.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (logs.length - 1);
  return { value: Math.exp(mean), chance: 3 * Math.sqrt(variance / logs.length) };
}

/**
 * Cases whose largest difference on the fixture's batch is larger than the reference's, and how many times: over 48 inputs they are alike (below).
 * The same on every instruction set. That it is chance shows in llama-longrope, where the rounding of the weights alone, with all else in
 * float32, makes 1.10 of the reference's difference; and in the reference itself, whose `model.to(bfloat16)` is above it in 10 of 29 cases.
 */
const ABOVE_THE_REFERENCE: Readonly<Record<string, number>> = {
  "llama3-rope": 1.11,
  "llama-longrope": 1.1,
  mistral: 1.2,
  "mistral-full": 1.02,
  qwen2: 1.08,
  "qwen2-window": 1.08,
  qwen3: 1.02,
  phi3: 1.14,
  smollm3: 1.15,
  gemma: 1.23,
  gemma3_text: 1.02,
  gpt2: 1.16,
  stablelm: 1.13,
  qwen3_moe: 1.2,
};

describe("bfloat16 logits of the fixture's batch are as near to float32 as the reference's", () => {
  it.each([...DENSE_CASES, "mixtral", "granitemoe", "granitemoeshared", "qwen3_moe"])("%s", async (name) => {
    const fixture = golden(name);
    const mask = fixture.tensors.get("attention_mask")!.data;
    const run = async (dtype: "float32" | "bfloat16"): Promise<Float32Array> => {
      const model = await openModel(name, { dtype });
      const values = inScope(() => noGrad(() => model.forward(batch(fixture)).logits.toFloat32Array()));
      return maskedRows(values, mask, model.config.vocabSize);
    };
    const [exact, rounded] = [await run("float32"), await run("bfloat16")];
    const largest = exact.reduce((most, value, at) => Math.max(most, Math.abs(value - rounded[at]!)), 0);
    const allowed = fixture.document.bf16.logits_vs_float32.max_abs * (ABOVE_THE_REFERENCE[name] ?? 1);
    // Both float32 logits are within 1e-5 of each other.
    expect(largest).toBeLessThanOrEqual(allowed + 1e-5);
  });
});

describe("bfloat16 logits are as near to float32 as the reference's", () => {
  it.each(Object.entries(reference.cases))("%s", async (name, theirs) => {
    const ours = await ownDifferences(name);
    const mean = ratio(ours.mean_abs, theirs.mean_abs);
    const largest = ratio(ours.max_abs, theirs.max_abs);
    expect(mean.value, "mean difference").toBeLessThanOrEqual(1 + mean.chance);
    expect(largest.value, "largest difference").toBeLessThanOrEqual(1 + largest.chance);
    // Chance itself is small, unless bfloat16 sends a token to other experts now and then.
    if (!/moe|mixtral/.test(name)) {
      expect(mean.chance).toBeLessThanOrEqual(0.03);
    }
  });
});
