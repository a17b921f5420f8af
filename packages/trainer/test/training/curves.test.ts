/** Training curves of the Hugging Face Trainer, step by step. */
import { modelTensors, PeftModel } from "@fms-accel/models";
import { fixturePath, largestDifference, readSafetensors, relativeDifference } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import { readCurve, runCurve, type CurveRun } from "./curve-run.ts";

describe.each([
  "full-llama",
  "full-mixtral-aux",
  "full-granitemoe",
  "lora-gpt_bigcode",
  "lora-llama",
  "lora-llama-nopadtokens",
])("%s", (name) => {
  const curve = readCurve(name);

  it("has the losses, gradient norms, learning rates and token counts of the reference, and its final weights", async () => {
    const { model, logHistory, steps } = await runCurve(name);
    const logged = logHistory.filter((entry) => "loss" in entry);
    expect(logged).toHaveLength(curve.steps.length);
    for (const [index, expected] of curve.steps.entries()) {
      const actual = logged[index] ?? {};
      expect(actual["step"]).toBe(expected.step);
      expect(Math.abs(Number(actual["loss"]) / expected.loss - 1)).toBeLessThan(1e-5);
      expect(Math.abs(Number(actual["grad_norm"]) / expected.grad_norm - 1)).toBeLessThan(1e-5);
      expect(actual["learning_rate"]).toBeCloseTo(expected.learning_rate, 15);
      expect(steps[index]?.trainableTokens).toBe(expected.num_items_in_batch);
    }
    const file = curve.lora === null ? "model.safetensors" : "adapter_model.safetensors";
    const reference = readSafetensors(fixturePath("curves", name, "final", file));
    const own = model instanceof PeftModel ? model.adapterStateDict() : modelTensors(model);
    expect([...own.keys()].sort()).toEqual([...reference.keys()].sort());
    for (const [key, expected] of reference) {
      expect(relativeDifference(own.get(key)?.toFloat32Array() ?? [], expected.data as Float32Array)).toBeLessThan(
        1e-4,
      );
    }
  });
});

function rootMeanSquare(values: readonly number[], expected: readonly number[]): number {
  const sum = values.reduce((total, value, i) => total + (value - (expected[i] ?? NaN)) ** 2, 0);
  return Math.sqrt(sum / expected.length);
}

describe("bf16-llama", () => {
  const curve = readCurve("bf16-llama");
  const full = readCurve("full-llama");
  const allowed = curve.compared_with;
  if (allowed === undefined) throw new Error("the fixture has no tolerances");

  it("is about as near to the float32 curve as the reference's bfloat16 run is", async () => {
    // Both are noise around the float32 curve, and 20 steps say little about its size: a start that differs by less than bfloat16 resolves
    // moves one run's distance between 0.6 and 2 times the reference's, on every instruction set and on cuda alike. So several runs together.
    const runs = [];
    for (const change of [0, 1e-4, 2e-4, 3e-4])
      runs.push(await runCurve("bf16-llama", { learningRate: 2e-3 * (1 + change) }));
    for (const key of ["loss", "grad_norm"] as const) {
      const exact = full.steps.map((step) => step[key]);
      const own = runs.map(({ logHistory }) =>
        rootMeanSquare(
          logHistory.flatMap((entry) => ("loss" in entry ? [Number(entry[key])] : [])),
          exact,
        ),
      );
      const theirs = rootMeanSquare(
        curve.steps.map((step) => step[key]),
        exact,
      );
      expect(Math.hypot(...own) / Math.sqrt(own.length)).toBeLessThan(1.5 * theirs);
    }
    const { model } = runs[0] as CurveRun;
    // Where a gradient is almost 0, its sign is chance, and AdamW moves by the sign: the largest difference is that of a few weights.
    const reference = readSafetensors(fixturePath("curves", "full-llama", "final", "model.safetensors"));
    for (const [key, tensor] of modelTensors(model)) {
      expect(tensor.dtype).toBe("float32");
      const difference = largestDifference(tensor.toFloat32Array(), reference.get(key)?.data ?? []);
      expect(difference).toBeLessThan(1.5 * allowed.largest_final_weight_difference);
    }
  });
});
