import { Linear, Module, type Tensor } from "@fms-accel/tensor";

import type { ModelOptions } from "../architectures/architecture.ts";
import { type Activation, activation, type ActivationName, gated } from "./activations.ts";

export interface GatedMLPSizes {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly hiddenAct: ActivationName;
}

/** Gated MLP (https://arxiv.org/abs/2002.05202): down(act(gate(x)) · up(x)). */
export class GatedMLP extends Module {
  gate_proj: Linear;
  up_proj: Linear;
  down_proj: Linear;
  readonly activation: Activation;

  constructor({ hiddenSize, intermediateSize, hiddenAct }: GatedMLPSizes, bias: boolean, options: ModelOptions) {
    super();
    const linear = { ...options, bias };
    this.gate_proj = new Linear(hiddenSize, intermediateSize, linear);
    this.up_proj = new Linear(hiddenSize, intermediateSize, linear);
    this.down_proj = new Linear(intermediateSize, hiddenSize, linear);
    this.activation = activation(hiddenAct);
  }

  forward(x: Tensor): Tensor {
    return this.down_proj.forward(gated(this.activation, this.gate_proj.forward(x), this.up_proj.forward(x)));
  }
}
