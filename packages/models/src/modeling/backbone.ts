import { Module, type Tensor } from "@fms-accel/tensor";

import type { CausalLMInputs } from "./causal-lm.ts";
import type { RoutedHidden } from "./run-routed-layers.ts";

/** What lies under the head of a language model: every forward call of every architecture goes through its backbone. */
export abstract class Backbone extends Module {
  /** @returns hidden states after the last norm, `[B, T, hidden]`; of routed architectures router logits too */
  abstract forward(inputs: CausalLMInputs, gradientCheckpointing: boolean): Tensor | RoutedHidden;
}
