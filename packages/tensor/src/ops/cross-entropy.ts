/** Cross entropy of class scores. Native side: native/cpu/cross_entropy.cc. */
import { recordOperation } from "../autograd/tape.ts";
import { TensorError } from "../errors.ts";
import { native } from "../native.ts";
import { Tensor } from "../tensor.ts";
import { mul } from "./elementwise.ts";
import { sum } from "./reduce.ts";

export interface CrossEntropyOptions {
  /** Rows with this label count neither in the loss nor in the mean. Default -100. */
  ignoreIndex?: number;
  /** "mean" (default; over the rows that count), "sum", or "none" for the losses of all rows, 0 where ignored. */
  reduction?: "mean" | "sum" | "none";
}

/**
 * -log softmax(logits)[label] of each row, reduced; float32 whatever the dtype of `logits` [rows, classes]. `labels` [rows] has an
 * integer dtype. The mean over no rows is NaN, as in torch. Throws TensorError for a label outside of 0 to classes - 1, with its row.
 */
export function crossEntropy(logits: Tensor, labels: Tensor, options: CrossEntropyOptions = {}): Tensor {
  const { ignoreIndex = -100, reduction = "mean" } = options;
  if (!["mean", "sum", "none"].includes(reduction)) {
    throw new TensorError(`crossEntropy: reduction ${JSON.stringify(reduction)}; expected "mean", "sum" or "none"`);
  }
  const computed = native.crossEntropy(logits.handle, labels.handle, ignoreIndex, reduction === "mean");
  const losses = new Tensor(computed.losses);
  const logsumexp = new Tensor(computed.logsumexp);
  const scale = reduction === "mean" ? 1 / computed.counted : 1;
  // No row counts: 0 * Infinity is the NaN of an empty mean.
  const result = reduction === "none" ? losses : reduction === "sum" ? sum(losses) : mul(sum(losses), scale);
  return recordOperation("crossEntropy", result, [logits], [logits, labels, logsumexp], (g) => [
    new Tensor(
      native.crossEntropyGradient(logits.handle, labels.handle, logsumexp.handle, ignoreIndex, g.handle, scale),
    ),
  ]);
}

/**
 * `crossEntropy(logits, labels, { reduction: "sum" })` and its gradient at once, without a tape: the gradient [rows, classes] overwrites
 * `logits`, which are the largest tensor of a training step. Returns the sum, a float32 scalar. Throws TensorError for logits that are not
 * contiguous or may not be written to, and for what `crossEntropy` refuses.
 */
export function crossEntropyInPlace(
  logits: Tensor,
  labels: Tensor,
  { ignoreIndex = -100 }: Pick<CrossEntropyOptions, "ignoreIndex"> = {},
): Tensor {
  return sum(new Tensor(native.crossEntropyInPlace(logits.handle, labels.handle, ignoreIndex)));
}
