/** Training curves of the Hugging Face Trainer, step by step. */
import { modelTensors, PeftModel } from "@fms-accel/models";
import { fixturePath, largestDifference, readSafetensors, relativeDifference } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import { readCurve, runCurve } from "./curve-run.ts";

describe.each(["full-llama", "lora-llama", "lora-llama-nopadtokens"])("%s", (name) => {
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

describe("bf16-llama", () => {
  const curve = readCurve("bf16-llama");

  it("stays as near to the float32 curve as the reference's own autocast run does", async () => {
    const { logHistory, model } = await runCurve("bf16-llama");
    const full = readCurve("full-llama");
    const logged = logHistory.filter((entry) => "loss" in entry);
    const of = (key: string): number[] => logged.map((entry) => Number(entry[key]));
    const allowed = curve.compared_with;
    if (allowed === undefined) throw new Error("the fixture has no tolerances");
    expect(
      largestDifference(
        of("loss"),
        full.steps.map(({ loss }) => loss),
      ),
    ).toBeLessThan(2 * allowed.largest_loss_difference);
    expect(
      largestDifference(
        of("grad_norm"),
        full.steps.map((step) => step.grad_norm),
      ),
    ).toBeLessThan(2 * allowed.largest_grad_norm_difference);
    const reference = readSafetensors(fixturePath("curves", "full-llama", "final", "model.safetensors"));
    for (const [key, tensor] of modelTensors(model)) {
      expect(tensor.dtype).toBe("float32");
      expect(largestDifference(tensor.toFloat32Array(), reference.get(key)?.data ?? [])).toBeLessThan(
        2 * allowed.largest_final_weight_difference,
      );
    }
  });
});
