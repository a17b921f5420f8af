/** From the last hidden states to logits and to the next-token loss. Shared by all architectures. */
import {
  add,
  checkpoint,
  crossEntropy,
  indexSelect,
  isGradEnabled,
  Linear,
  type Module,
  div,
  noGrad,
  reshape,
  slice,
  type Tensor,
  tensor,
} from "@fms-accel/tensor";

import { ModelInputError } from "../errors.ts";
import type { CausalLMInputs, CausalLMOutput } from "../modeling/causal-lm.ts";
import { linearCrossEntropy, rowsPerChunk } from "./linear-cross-entropy.ts";

/** Label of a position without a target. */
export const IGNORE_INDEX = -100;

/** Applied to logits row by row: a scale, a soft cap. */
export type LogitsTransform = (logits: Tensor) => Tensor;

/** The output layer, `[…, H]` to `[…, V]`: a Linear, or what an adapter put in its place. */
export interface LanguageModelHead extends Module {
  forward(x: Tensor): Tensor;
}

/**
 * The output of a language model whose body returned `hidden`. Without labels it is the logits; with labels the loss, and
 * the logits when someone reads them.
 * @param hidden `[B, T, H]`
 * @param auxLoss added to the loss, undivided
 */
export function causalLMOutput(
  hidden: Tensor,
  head: LanguageModelHead,
  vocabSize: number,
  inputs: CausalLMInputs,
  transform: LogitsTransform = (logits) => logits,
  auxLoss?: Tensor,
): CausalLMOutput {
  const logits = (): Tensor => transform(head.forward(lastPositions(hidden, inputs.logitsToKeep)));
  if (inputs.labels === undefined) {
    return { logits: logits(), loss: undefined };
  }
  const targetLoss = nextTokenLoss(hidden, head, vocabSize, inputs.labels, inputs.numItemsInBatch, transform);
  const recording = isGradEnabled();
  const output: { logits?: Tensor; loss: Tensor; auxLoss?: Tensor } =
    auxLoss === undefined ? { loss: targetLoss } : { loss: add(targetLoss, auxLoss), auxLoss };
  // Not enumerable until it is computed: looking through an output for its tensors, as scope() does, must not compute it.
  Object.defineProperty(output, "logits", {
    configurable: true,
    enumerable: false,
    get: () => {
      if (hidden.isDisposed) {
        throw new ModelInputError(
          "logits: the tensors of this forward call are freed. Read logits inside the scope of the call.",
        );
      }
      const value = recording ? logits() : noGrad(logits);
      Object.defineProperty(output, "logits", { value, enumerable: true });
      return value;
    },
  });
  return output as CausalLMOutput;
}

function lastPositions(hidden: Tensor, logitsToKeep: number | undefined): Tensor {
  const length = hidden.shape[1]!;
  return logitsToKeep === undefined || logitsToKeep === 0 || logitsToKeep >= length
    ? hidden
    : slice(hidden, 1, length - logitsToKeep, length);
}

/**
 * Cross entropy of the logits at t with the label at t + 1, summed over all targets and divided by `numItemsInBatch`, or by their
 * number. Positions without a target cost nothing: their logits are never computed.
 * @param labels int32 `[B, T]`, -100 for no target
 * @throws ModelInputError for a label outside the vocabulary, and where there is nothing to take the mean of
 */
export function nextTokenLoss(
  hidden: Tensor,
  head: LanguageModelHead,
  vocabSize: number,
  labels: Tensor,
  numItemsInBatch?: number,
  transform: LogitsTransform = (logits) => logits,
): Tensor {
  const { rows, targets } = shiftedTargets(labels, vocabSize);
  const count = numItemsInBatch ?? rows.length;
  if (!(count > 0)) {
    throw new ModelInputError(
      numItemsInBatch === undefined
        ? `labels: no position has a target (all labels are ${IGNORE_INDEX}, the first of a row never counts).`
        : `numItemsInBatch: expected a number above 0, found ${numItemsInBatch}.`,
    );
  }
  const flat = reshape(hidden, [-1, hidden.shape.at(-1)!]);
  const x = indexSelect(flat, 0, tensor(rows, { device: hidden.device }));
  const wanted = tensor(targets, { device: hidden.device });
  const plain = plainLinear(head);
  const sum =
    plain === undefined
      ? chunkedCrossEntropy(x, (chunk) => transform(head.forward(chunk)), wanted, rowsPerChunk(rows.length, vocabSize))
      : linearCrossEntropy(x, plain.weight, wanted, { bias: plain.bias, transform });
  return div(sum, count);
}

/** Rows `b · T + t` that have a target, and the targets. */
function shiftedTargets(labels: Tensor, vocabSize: number): { rows: Int32Array; targets: Int32Array } {
  const [batch, length] = labels.shape as [number, number];
  const values = labels.toInt32Array();
  const rows = new Int32Array(batch * length);
  const targets = new Int32Array(batch * length);
  let count = 0;
  for (let at = 0; at < values.length; at++) {
    const label = values[at]!;
    if (at % length === 0 || label === IGNORE_INDEX) {
      continue;
    }
    if (label < 0 || label >= vocabSize) {
      throw new ModelInputError(
        `labels: expected token ids from 0 to ${vocabSize - 1} or ${IGNORE_INDEX}, found ${label} in row ${Math.floor(at / length)}, position ${at % length}.`,
      );
    }
    rows[count] = at - 1;
    targets[count] = label;
    count++;
  }
  return { rows: rows.subarray(0, count), targets: targets.subarray(0, count) };
}

/** The head itself when it is the plain layer: adapters and plugins replace it, or its forward. */
function plainLinear(head: LanguageModelHead): Linear | undefined {
  return head instanceof Linear && head.constructor === Linear && !Object.hasOwn(head, "forward") ? head : undefined;
}

/** The same sum for a head that is more than one matrix: backward computes the logits of each chunk once more. */
function chunkedCrossEntropy(x: Tensor, head: (x: Tensor) => Tensor, targets: Tensor, chunkRows: number): Tensor {
  const rows = x.shape[0]!;
  const losses: Tensor[] = [];
  for (let start = 0; start < Math.max(rows, 1); start += chunkRows) {
    const end = Math.min(start + chunkRows, rows);
    losses.push(
      checkpoint(
        (chunk: Tensor, wanted: Tensor) => crossEntropy(head(chunk), wanted, { reduction: "sum" }),
        slice(x, 0, start, end),
        slice(targets, 0, start, end),
      ),
    );
  }
  return losses.reduce((sum, loss) => add(sum, loss));
}
