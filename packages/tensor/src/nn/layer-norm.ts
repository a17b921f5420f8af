import { empty, type TensorOptions } from "../create.ts";
import { add, cast, mul, rsqrt, square, sub } from "../ops/elementwise.ts";
import { mean } from "../ops/reduce.ts";
import type { Tensor } from "../tensor.ts";
import { Module } from "./module.ts";
import { Parameter } from "./parameter.ts";

/**
 * Layer normalisation over the last dimension (Ba et al., 2016), composed; statistics in float32.
 * x [..., dim], weight and bias [dim].
 */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor | undefined, eps: number): Tensor {
  const wide = cast(x, "float32");
  const centred = sub(wide, mean(wide, -1, true));
  const normalised = mul(centred, rsqrt(add(mean(square(centred), -1, true), eps)));
  const scaled = mul(normalised, weight);
  return cast(bias === undefined ? scaled : add(scaled, bias), x.dtype);
}

export class LayerNorm extends Module {
  readonly eps: number;
  weight: Parameter;
  bias: Parameter | undefined;

  constructor(
    dim: number,
    { eps = 1e-5, bias = true, ...options }: TensorOptions & { eps?: number; bias?: boolean } = {},
  ) {
    super();
    this.eps = eps;
    this.weight = new Parameter(empty([dim], options));
    this.bias = bias ? new Parameter(empty([dim], options)) : undefined;
  }

  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight, this.bias, this.eps);
  }
}
