import { add, cast, mean, mul, noGrad, rsqrt, scope, square, type Tensor, zeros } from "@fms-accel/tensor";

import { RMSNorm } from "./rms-norm.ts";

/**
 * Gemma's RMSNorm: x / rms(x) · (1 + weight), all in float32 and rounded to x's dtype last. A new norm's weight is 0.
 */
export class GemmaRMSNorm extends RMSNorm {
  override initialiseParameters(): void {
    noGrad(() => this.weight.copyFrom(zeros(this.weight.shape)));
  }

  /** @param x `[..., H]` */
  override forward(x: Tensor): Tensor {
    return scope(() => {
      const wide = cast(x, "float32");
      const normalised = mul(wide, rsqrt(add(mean(square(wide), -1, true), this.eps)));
      return cast(mul(normalised, add(cast(this.weight, "float32"), 1)), x.dtype);
    });
  }
}
