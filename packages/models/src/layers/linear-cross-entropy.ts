/**
 * Cross entropy of `linear(x, weight, bias)` without ever holding all logits. A vocabulary is wide: the logits of 2,048 tokens
 * over 49,152 words take 400 MB in float32, and their gradient as much again.
 */
import {
  add,
  cast,
  crossEntropy,
  crossEntropyInPlace,
  empty,
  isGradEnabled,
  linear,
  mul,
  recordOperation,
  scope,
  slice,
  type Tensor,
  zeros,
} from "@fms-accel/tensor";

export interface LinearCrossEntropyOptions {
  readonly bias?: Tensor | undefined;
  /** Applied to the logits of each chunk, such as a soft cap or a scale. Must treat rows independently. */
  readonly transform?: ((logits: Tensor) => Tensor) | undefined;
  readonly chunkRows?: number | undefined;
}

/** A chunk of logits is the largest tensor of a training step: so many bytes at most. Where they are transformed, their gradient takes as many again. */
const CHUNK_BYTES = 128 * 2 ** 20;

/** Chunks are multiples of it: a whole number of the matrix kernels' blocks. */
const ROW_STEP = 64;

/** Rows of a chunk, so that its float32 logits fit and all chunks are about equal: a small rest would use the kernels badly. */
export function rowsPerChunk(rows: number, vocabSize: number): number {
  const most = Math.max(1, Math.floor(CHUNK_BYTES / (4 * vocabSize) / ROW_STEP));
  const steps = Math.max(1, Math.ceil(rows / ROW_STEP));
  return Math.ceil(steps / Math.ceil(steps / most)) * ROW_STEP;
}

/**
 * Sum of the cross entropies of rows against their targets, a chunk of rows at a time. The gradients are computed together with
 * the loss, while the logits of the chunk are at hand, so that backward only scales them.
 * @param x `[N, H]`
 * @param weight `[V, H]`
 * @param targets int32 `[N]`, all in [0, V)
 * @returns float32 scalar
 */
export function linearCrossEntropy(
  x: Tensor,
  weight: Tensor,
  targets: Tensor,
  { bias, transform = (logits) => logits, ...options }: LinearCrossEntropyOptions = {},
): Tensor {
  const inputs = bias === undefined ? [x, weight] : [x, weight, bias];
  const needs = inputs.map((input) => isGradEnabled() && input.requiresGrad);
  const [rows] = x.shape as [number, number];
  const chunkRows = options.chunkRows ?? rowsPerChunk(rows, weight.shape[0]!);
  const xGradient = needs[0] ? empty(x.shape, { dtype: x.dtype, device: x.device }) : undefined;
  // Leaves of the chunks' own small tapes; what they accumulate is handed on by the vjp below.
  const ownWeight = leafOf(weight, needs[1]!);
  const ownBias = bias === undefined ? undefined : leafOf(bias, needs[2]!);
  let total = zeros([], { device: x.device });
  for (let start = 0; start < rows; start += chunkRows) {
    const end = Math.min(start + chunkRows, rows);
    total = scope(() => {
      const chunk = leafOf(slice(x, 0, start, end), needs[0]!);
      const loss = lossAndGradients(linear(chunk, ownWeight, ownBias), transform, slice(targets, 0, start, end));
      if (xGradient !== undefined) {
        slice(xGradient, 0, start, end).copyFrom(chunk.grad!);
      }
      return add(total, loss);
    });
  }
  const gradients = [xGradient, ownWeight.grad, ownBias?.grad].slice(0, inputs.length);
  return recordOperation(
    "linearCrossEntropy",
    total,
    inputs,
    gradients.filter((gradient) => gradient !== undefined),
    (gradient) => gradients.map((own) => own && cast(mul(own, gradient), own.dtype)),
  );
}

/** The sum of the losses of a chunk. Where a gradient is wanted, the leaves that its logits come from have theirs afterwards. */
function lossAndGradients(logits: Tensor, transform: (logits: Tensor) => Tensor, targets: Tensor): Tensor {
  const scores = transform(logits);
  if (!scores.requiresGrad || scores !== logits) {
    const loss = crossEntropy(scores, targets, { reduction: "sum" });
    if (loss.requiresGrad) loss.backward();
    return loss.detach();
  }
  // A linear layer does not read its answer again: the gradient takes its place.
  const gradient = logits.detach();
  const loss = crossEntropyInPlace(gradient, targets);
  logits.backward(gradient);
  return loss;
}

/** The same data as the start of a tape of its own. */
function leafOf(x: Tensor, requiresGrad: boolean): Tensor {
  const leaf = x.detach();
  leaf.requiresGrad = requiresGrad;
  return leaf;
}
