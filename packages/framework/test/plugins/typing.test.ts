import { expect, test } from "vitest";
import { Linear, type Tensor } from "@fms-accel/tensor";
import { LlamaAttention, RMSNorm } from "@fms-accel/models";
import { z } from "zod";
import {
  definePlugin,
  modelPatcherRule,
  moduleIs,
  moduleWhere,
  patchBranch,
  type AccelerationPlugin,
  type ModelPatcherRule,
} from "../../src/index.ts";

// A plugin as its author writes it: settings, modules and forwards are typed by what is declared. Type checking is most of this test.
const plugin = definePlugin({
  name: "ExampleAccelerationPlugin",
  description: "Scales.",
  paths: { allOf: ["training.example"] },
  schemas: {
    "training.example": z.strictObject({ method: z.enum(["a", "b"]).default("a") }),
    "training.further": z.strictObject({ size: z.number() }),
  },
  activate(configuration) {
    const method: "a" | "b" = configuration["training.example"].method;
    const size: number | undefined = configuration["training.further"]?.size;
    const rules: ModelPatcherRule[] = [
      modelPatcherRule({
        id: "norm",
        trigger: moduleIs(RMSNorm),
        forward: (norm, x): Tensor => (norm.eps > 1 ? x : x),
      }),
      modelPatcherRule({
        id: "attention",
        trigger: moduleIs(LlamaAttention, { moduleName: "self_attn" }),
        forwardBuilder(attention, { original }) {
          if (attention.headDim > 64) return (x, context) => original(x, context);
          return [patchBranch(moduleIs(Linear), (linear, x) => linear.forward(x))];
        },
      }),
      modelPatcherRule({ id: `mark-${method}-${size}`, trigger: moduleWhere((module) => module.training) }),
    ];
    return { augment: () => ({ rules, slots: { collator: { id: "c", build: (standard) => standard } } }) };
  },
});

test("a plugin typed by its own schemas is an AccelerationPlugin, and its rules are of one type", () => {
  const plugins: readonly AccelerationPlugin[] = [plugin];
  expect(plugins[0]?.paths).toEqual({ allOf: ["training.example"] });
});
