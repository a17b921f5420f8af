import { addmm, autocast, cast, mul, noGrad, scope, type Tensor, unsqueeze } from "@fms-accel/tensor";

/** What one adapter does to a weight. */
export interface WeightChange {
  /** `[r, in]` */
  readonly a: Tensor;
  /** `[out, r]` */
  readonly b: Tensor;
  readonly scaling: number;
  /** DoRA: factors of the rows, `[out]`; they belong to the weight without any adapter. */
  readonly rowFactors: Tensor | undefined;
}

/**
 * The weight with adapters merged in, one after the other: W + scaling · B · A, then DoRA's factors. All in float32, rounded to the
 * weight's dtype once.
 * @param weight `[out, in]`; it is not changed
 * @param transposed whether the weight is `[in, out]` instead
 */
export function mergedWeight(weight: Tensor, changes: readonly WeightChange[], transposed = false): Tensor {
  return noGrad(() =>
    scope(() =>
      autocast(undefined, () => {
        let wide = cast(weight, "float32");
        for (const { a, b, scaling, rowFactors } of changes) {
          const [left, right] = transposed ? [a, b] : [b, a];
          wide = addmm(wide, cast(left, "float32"), cast(right, "float32"), {
            alpha: scaling,
            transposeA: transposed,
            transposeB: transposed,
            overwriteInput: wide !== weight,
          });
          if (rowFactors !== undefined) {
            wide = mul(wide, transposed ? rowFactors : unsqueeze(rowFactors, 1));
          }
        }
        return cast(wide, weight.dtype);
      }),
    ),
  );
}
