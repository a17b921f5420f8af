import { empty, type TensorOptions } from "../create.ts";
import { linear } from "../ops/matmul.ts";
import type { Tensor } from "../tensor.ts";
import { Module } from "./module.ts";
import { Parameter } from "./parameter.ts";

export interface LinearOptions extends TensorOptions {
  /** Default true. */
  bias?: boolean;
}

/** y = x · weightᵀ + bias, with weight [out, in]. The weights are uninitialised: loading or initialisation fills them. */
export class Linear extends Module {
  readonly in_features: number;
  readonly out_features: number;
  weight: Parameter;
  bias: Parameter | undefined;

  constructor(inFeatures: number, outFeatures: number, options: LinearOptions = {}) {
    super();
    this.in_features = inFeatures;
    this.out_features = outFeatures;
    this.weight = new Parameter(empty([outFeatures, inFeatures], options));
    this.bias = options.bias === false ? undefined : new Parameter(empty([outFeatures], options));
  }

  /** x [..., in] → [..., out] */
  forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }
}
