import { type Device, type DType, empty, linear, Module, Parameter, type Tensor, transpose } from "@fms-accel/tensor";

/** GPT-2's linear layer: y = x · weight + bias, the weight stored `[in, out]`, transposed to that of a Linear. */
export class Conv1D extends Module {
  readonly in_features: number;
  readonly out_features: number;
  weight: Parameter;
  bias: Parameter;

  constructor(inFeatures: number, outFeatures: number, options: { dtype?: DType; device?: Device } = {}) {
    super();
    this.in_features = inFeatures;
    this.out_features = outFeatures;
    this.weight = new Parameter(empty([inFeatures, outFeatures], options));
    this.bias = new Parameter(empty([outFeatures], options));
  }

  /** `[..., in]` to `[..., out]` */
  forward(x: Tensor): Tensor {
    return linear(x, transpose(this.weight, 0, 1), this.bias); // the bias is added before the sum is rounded
  }
}
