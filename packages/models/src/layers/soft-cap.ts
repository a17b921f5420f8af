import { div, mul, tanh, type Tensor } from "@fms-accel/tensor";

/** cap · tanh(x / cap): x kept within ±cap (Gemma 2, https://arxiv.org/abs/2408.00118). Without a cap, x itself. */
export function softCap(x: Tensor, cap: number | undefined): Tensor {
  return cap === undefined ? x : mul(tanh(div(x, cap)), cap);
}
