import { cast, type DType, Generator, randn, type Tensor, tensor } from "@fms-accel/tensor";
import type { AttentionCase } from "./reference-attention.ts";

export interface AttentionOperands {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly outGradient: Tensor;
  readonly cuSeqlens: Tensor;
}

/** int32 [sequences + 1]: where each sequence begins, and the end of the last. */
export function cumulativeLengths(lengths: readonly number[]): Tensor {
  const bounds = new Int32Array(lengths.length + 1);
  lengths.forEach((length, s) => (bounds[s + 1] = bounds[s]! + length));
  return tensor(bounds, { dtype: "int32" });
}

/** Normal numbers, the same for the same seed; q, k and v need gradients. */
export function attentionOperands(c: AttentionCase, dtype: DType = "float32", seed = 1): AttentionOperands {
  const tokens = c.lengths.reduce((sum, length) => sum + length, 0);
  const generator = new Generator(seed);
  const operand = (heads: number, requiresGrad: boolean): Tensor => {
    const x = cast(randn([tokens, heads, c.dim], { generator }), dtype);
    x.requiresGrad = requiresGrad;
    return x;
  };
  return {
    q: operand(c.heads, true),
    k: operand(c.kvHeads, true),
    v: operand(c.kvHeads, true),
    outGradient: operand(c.heads, false),
    cuSeqlens: cumulativeLengths(c.lengths),
  };
}
