/** A linear layer with a low-rank adapter in one product. Native side: the tail of GemmSource in native/cpu/gemm.h. */
import { autocastDtype } from "../autocast.ts";
import { recordOperation } from "../autograd/tape.ts";
import { type DType, isFloating } from "../dtype.ts";
import { TensorError } from "../errors.ts";
import type { Tensor } from "../tensor.ts";
import { asRows, gradientAsMatrix, packedWeight, product, type ProductOptions, swapLast } from "./matmul.ts";
import { sumTo } from "./reduce.ts";
import { reshape } from "./shape.ts";

export interface LowRankLinearOptions {
  /** `[out]` */
  bias?: Tensor | undefined;
  /** What A sees in place of x, of x's shape: x after dropout. */
  lowRankInput?: Tensor;
}

/**
 * x · weightᵀ + bias + scaling · (x · aᵀ) · bᵀ → [..., out]: a linear layer with a low-rank adapter (Hu et al., 2021, arXiv:2106.09685), with
 * x [..., in], weight [out, in], a [r, in], b [out, r]. Replaces
 * `linear(x, weight, bias) + scaling · linear(linear(lowRankInput, a), b)`: the low-rank product is the tail of the wide one, forward and for
 * the gradient of x, so that neither costs a pass over the result. In bfloat16 the sum is rounded once. The result has x's dtype; weights of other dtypes are rounded to it while packing, and their gradients have their own.
 *
 * @throws {TensorError} for shapes that do not fit
 */
export function lowRankLinear(
  x: Tensor,
  weight: Tensor,
  a: Tensor,
  b: Tensor,
  scaling: number,
  { bias, lowRankInput = x }: LowRankLinearOptions = {},
): Tensor {
  const [outFeatures, inFeatures] = weight.shape;
  const fits =
    [weight, a, b].every((matrix) => matrix.ndim === 2) &&
    x.ndim >= 1 &&
    [x.shape.at(-1), a.shape[1]].every((size) => size === inFeatures) &&
    b.shape[0] === outFeatures &&
    b.shape[1] === a.shape[0] &&
    lowRankInput.shape.join() === x.shape.join();
  if (!fits) {
    const found = [x, weight, a, b, lowRankInput].map(({ shape }) => `[${shape.join(", ")}]`).join(", ");
    throw new TensorError(
      `lowRankLinear: expected x [..., in], weight [out, in], a [r, in], b [out, r] and a low-rank input like x, found ${found}`,
    );
  }
  if (!isFloating(x.dtype)) throw new TensorError(`lowRankLinear: expected a floating x, found ${x.dtype}`);
  const dtype = autocastDtype() ?? x.dtype;
  const inBFloat16 = dtype === "bfloat16";
  const rows = asRows(x);
  const packed = packedWeight(weight, inBFloat16);
  const isOneInput = lowRankInput === x;
  const lowRankRows = isOneInput ? rows : asRows(lowRankInput);
  const narrow = product(lowRankRows, swapLast(a), dtype, inBFloat16, { alpha: scaling });
  const flat = productWithTail(rows, swapLast(weight), dtype, inBFloat16, {
    bias,
    packed: packed?.forward,
    tail: [narrow, swapLast(b)],
  });
  const inputs = [rows, weight, a, b, ...(isOneInput ? [] : [lowRankRows]), ...(bias === undefined ? [] : [bias])];
  const saved = [
    weight,
    a,
    b,
    ...(packed?.backward === undefined ? [] : [packed.backward]),
    ...(weight.requiresGrad ? [rows] : []),
    ...(a.requiresGrad ? [lowRankRows] : []),
    ...(b.requiresGrad ? [narrow] : []),
  ];
  recordOperation("lowRankLinear", flat, inputs, saved, (g, needs, soFar) => {
    const forX = needs[0] === true;
    const forLowRank = isOneInput ? forX : needs[4] === true;
    const narrowGradient = forLowRank || needs[2] ? product(g, b, dtype, inBFloat16, { alpha: scaling }) : undefined;
    const tail = forX && isOneInput && narrowGradient !== undefined ? ([narrowGradient, a] as const) : undefined;
    const biasGradient = bias !== undefined && needs.at(-1) ? sumTo(g, bias.shape) : undefined;
    const [rowCount, width] = rows.shape as [number, number];
    const into = gradientAsMatrix(forX ? soFar(0) : undefined, rows.dtype, rowCount, width);
    const ofX = forX
      ? productWithTail(g, weight, rows.dtype, inBFloat16, { packed: packed?.backward, tail, into })
      : undefined;
    return [
      into === undefined ? ofX : undefined,
      needs[1] ? product(swapLast(g), rows, weight.dtype, inBFloat16) : undefined,
      needs[2] && narrowGradient ? product(swapLast(narrowGradient), lowRankRows, a.dtype, inBFloat16) : undefined,
      needs[3] ? product(swapLast(g), narrow, b.dtype, inBFloat16) : undefined,
      ...(isOneInput
        ? []
        : [forLowRank && narrowGradient ? product(narrowGradient, a, lowRankRows.dtype, inBFloat16) : undefined]),
      ...(bias === undefined ? [] : [biasGradient]),
    ];
  });
  return x.ndim === 2 ? flat : reshape(flat, [...x.shape.slice(0, -1), outFeatures as number]);
}

/** `product`, or two of them where `a` has an odd number of columns or b is packed. */
function productWithTail(
  a: Tensor,
  b: Tensor,
  dtype: DType,
  inBFloat16: boolean,
  { tail, ...options }: ProductOptions,
): Tensor {
  if (tail === undefined || (options.packed === undefined && (a.shape[1] as number) % 2 === 0)) {
    return product(a, b, dtype, inBFloat16, { ...options, tail });
  }
  return product(...tail, dtype, inBFloat16, { into: product(a, b, dtype, inBFloat16, options) });
}
