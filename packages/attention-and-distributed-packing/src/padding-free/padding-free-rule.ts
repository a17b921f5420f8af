import { modelPatcherRule, type ModelPatcherRule, moduleIs } from "@fms-accel/framework";
import { Backbone } from "@fms-accel/models";
import { variableLengthCausalAttention } from "./variable-length-causal-attention.ts";

/**
 * Lets the layers of every architecture attend by the variable-length kernel: each forward call of the backbone, which knows where its
 * sequences begin and end, hands it to them.
 *
 * @param say told, once for each reason, where the engine's attention is used in its place
 */
export function paddingFreeRule(say: (line: string) => void): ModelPatcherRule {
  const attention = variableLengthCausalAttention((reason) =>
    say(
      `padding_free: ${reason}, so these layers use the engine's attention in place of the variable-length kernel. ` +
        "The results are the same; it takes time for all pairs of tokens of a batch.",
    ),
  );
  return modelPatcherRule({
    id: "padding-free",
    trigger: moduleIs(Backbone),
    forwardBuilder:
      (_backbone, { original }) =>
      (inputs, gradientCheckpointing) =>
        original({ ...inputs, attention }, gradientCheckpointing),
  });
}
