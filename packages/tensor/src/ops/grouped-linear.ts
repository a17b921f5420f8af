/** Linear layers of several groups of rows side by side, as a mixture of experts needs them. Native side: native/ops/grouped_linear.cc. */
import { autocastDtype } from "../autocast.ts";
import { recordOperation } from "../autograd/tape.ts";
import { dtypeCode, isFloating } from "../dtype.ts";
import { TensorError } from "../errors.ts";
import { native } from "../native.ts";
import { Tensor } from "../tensor.ts";

/**
 * Rows x [T, in] in the order of their groups, `counts[g]` of them in group g, each times the transposed weight of its group → [T, out].
 * `weight` holds those of all groups, [groups, out, in], or is a list of one [out, in] for each. Replaces `linear` of each group's rows,
 * joined by `cat`, and has its bits: those of a row do not depend on the other rows, nor on how large its group is. A group may be empty;
 * the gradient of its weight is then 0. The result has x's dtype; weights of another dtype are rounded to it while packing, and
 * their gradients have their own. The gradient of a stacked weight is computed in place, slice by slice.
 *
 * @throws {TensorError} for shapes and counts that do not fit
 */
export function groupedLinear(x: Tensor, weight: Tensor | readonly Tensor[], counts: readonly number[]): Tensor {
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
  const result = new Tensor(native.groupedLinear(x.handle, handles, counts, false, dtypeCode(dtype), inBFloat16));
  const saved = [...(weights.some(({ requiresGrad }) => requiresGrad) ? [x] : []), ...(x.requiresGrad ? weights : [])];
  return recordOperation("groupedLinear", result, [x, ...weights], saved, (g, [forX, ...forWeights]) => {
    const gradients: (Tensor | undefined)[] = [
      forX
        ? new Tensor(native.groupedLinear(g.handle, handles, counts, true, dtypeCode(x.dtype), inBFloat16))
        : undefined,
    ];
    const wanted = forWeights.flatMap((isWanted, index) => (isWanted ? [index] : []));
    if (wanted.length > 0) {
      native
        .groupedWeightGradients(g.handle, x.handle, counts, isStacked, wanted, dtypeCode(first.dtype), inBFloat16)
        .forEach((handle, index) => (gradients[1 + (wanted[index] as number)] = new Tensor(handle)));
    }
    return gradients;
  });
}
