/** Training curves of the Hugging Face Trainer, step by step. */
import { modelTensors, PeftModel } from "@fms-accel/models";
import { fixturePath, largestDifference, readSafetensors, relativeDifference } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import { readCurve, runCurve } from "./curve-run.ts";

describe.each(["full-llama", "full-mixtral-aux", "full-granitemoe", "lora-llama", "lora-llama-nopadtokens"])(
  "%s",
  (name) => {
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
  },
);

describe("bf16-llama", () => {
  const curve = readCurve("bf16-llama");
  const full = readCurve("full-llama");
  const allowed = curve.compared_with;
  if (allowed === undefined) throw new Error("the fixture has no tolerances");

  it("is as near to the float32 curve, and to the reference's bfloat16 curve, as those two are to each other", async () => {
    const { logHistory, model } = await runCurve("bf16-llama");
    const logged = logHistory.filter((entry) => "loss" in entry);
    for (const { steps } of [full, curve]) {
      for (const [key, largest] of [
        ["loss", allowed.largest_loss_difference],
        ["grad_norm", allowed.largest_grad_norm_difference],
      ] as const) {
        const own = logged.map((entry) => Number(entry[key]));
        expect(
          largestDifference(
            own,
            steps.map((step) => step[key]),
          ),
        ).toBeLessThan(largest);
      }
    }
    // Where a gradient is almost 0, its sign is chance, and AdamW moves by the sign: the largest difference is that of a few weights.
    const reference = readSafetensors(fixturePath("curves", "full-llama", "final", "model.safetensors"));
    for (const [key, tensor] of modelTensors(model)) {
      expect(tensor.dtype).toBe("float32");
      const difference = largestDifference(tensor.toFloat32Array(), reference.get(key)?.data ?? []);
      expect(difference).toBeLessThan(1.5 * allowed.largest_final_weight_difference);
    }
  });
});
