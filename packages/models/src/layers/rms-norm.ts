import { type Device, type DType, empty, Module, Parameter, rmsNorm, type Tensor } from "@fms-accel/tensor";

import { fillOnes } from "../modeling/initialise.ts";

/** Llama's normalisation: see `rmsNorm`. Other families round after the weight: they have their own module. */
export class RMSNorm extends Module {
  weight: Parameter;
  readonly eps: number;

  constructor(size: number, eps: number, options: { dtype?: DType; device?: Device } = {}) {
    super();
    this.weight = new Parameter(empty([size], options));
    this.eps = eps;
  }

  initialiseParameters(): void {
    fillOnes(this.weight);
  }

  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.weight, this.eps);
  }
}
