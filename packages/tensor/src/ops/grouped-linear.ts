/** Linear layers of several groups of rows side by side, as a mixture of experts needs them. Native side: native/ops/grouped_linear.cc. */
import { autocastDtype } from "../autocast.ts";
import { recordOperation } from "../autograd/tape.ts";
import { type DType, dtypeCode, isFloating } from "../dtype.ts";
import { TensorError } from "../errors.ts";
import { native } from "../native.ts";
import { Tensor } from "../tensor.ts";
import { RowGroups } from "./row-groups.ts";

/**
 * Rows x [T, in] in the order of their groups, `sizes[g]` of them in group g or as `groupRows` has dealt them out, each times the transposed weight of its group → [T, out].
 * `weight` holds those of all groups, [groups, out, in], or is a list of one [out, in] for each. Replaces `linear` of each group's rows,
 * joined by `cat`, and has its bits: those of a row do not depend on the other rows, nor on how large its group is. A group may be empty;
 * the gradient of its weight is then 0. The result has x's dtype; weights of another dtype are rounded to it while packing, and
 * their gradients have their own. The gradient of a stacked weight is computed in place, slice by slice.
 *
 * @throws {TensorError} for shapes and counts that do not fit
 */
export function groupedLinear(
  x: Tensor,
  weight: Tensor | readonly Tensor[],
  sizes: readonly number[] | RowGroups,
): Tensor {
  const isStacked = weight instanceof Tensor;
  const weights = isStacked ? [weight] : weight;
  if (isStacked && weight.ndim !== 3) {
    throw new TensorError(`groupedLinear: expected a weight [groups, out, in], found [${weight.shape.join(", ")}]`);
  }
  const [first] = weights;
  if (first === undefined || weights.some(({ dtype }) => dtype !== first.dtype)) {
    throw new TensorError(
      `groupedLinear: expected weights of one dtype, found ${weights.map(({ dtype }) => dtype).join(", ") || "none"}`,
    );
  }
  if (!isFloating(x.dtype)) throw new TensorError(`groupedLinear: expected a floating x, found ${x.dtype}`);
  const dtype = autocastDtype() ?? x.dtype;
  const inBFloat16 = dtype === "bfloat16";
  const handles = weights.map(({ handle }) => handle);
  const [counts, offsets] = sizes instanceof RowGroups ? [[], sizes.offsets] : [sizes, undefined];
  const forward = (rows: Tensor, isTransposed: boolean, resultDType: DType): Tensor =>
    new Tensor(
      native.groupedLinear(
        rows.handle,
        handles,
        counts,
        offsets?.handle,
        isTransposed,
        dtypeCode(resultDType),
        inBFloat16,
      ),
    );
  const result = forward(x, false, dtype);
  const saved = [
    ...(weights.some(({ requiresGrad }) => requiresGrad) ? [x] : []),
    ...(x.requiresGrad ? weights : []),
    ...(offsets === undefined ? [] : [offsets]),
  ];
  return recordOperation("groupedLinear", result, [x, ...weights], saved, (g, [forX, ...forWeights]) => {
    const gradients = [forX ? forward(g, true, x.dtype) : undefined];
    const wanted = forWeights.flatMap((isWanted, index) => (isWanted ? [index] : []));
    if (wanted.length > 0) {
      native
        .groupedWeightGradients(
          g.handle,
          x.handle,
          counts,
          offsets?.handle,
          isStacked,
          wanted,
          dtypeCode(first.dtype),
          inBFloat16,
        )
        .forEach((handle, index) => (gradients[1 + (wanted[index] as number)] = new Tensor(handle)));
    }
    return gradients;
  });
}
