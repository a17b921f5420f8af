import {
  cast,
  mean,
  Module,
  mul,
  Parameter,
  add,
  rsqrt,
  scope,
  square,
  type DType,
  type Device,
  empty,
  type Tensor,
} from "@fms-accel/tensor";

import { fillOnes } from "../modeling/initialise.ts";

/**
 * Root mean square normalisation (https://arxiv.org/abs/1910.07467): x / rms(x) · weight, over the last dimension.
 *
 * The statistics are float32 whatever x is; the normalised values are rounded to x's dtype before they meet the weight, as
 * Llama does it (other families round after: they have their own function).
 * @param x `[..., H]`
 * @param weight `[H]`
 * @returns `[..., H]`
 */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  return scope(() => {
    const wide = cast(x, "float32");
    const normalised = mul(wide, rsqrt(add(mean(square(wide), -1, true), eps)));
    return mul(weight, cast(normalised, x.dtype));
  });
}

/** Module form of `rmsNorm`. */
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
