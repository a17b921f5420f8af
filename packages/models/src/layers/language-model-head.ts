/** From the last hidden states to logits and to the next-token loss. Shared by all architectures. */
import {
  add,
  checkpoint,
  crossEntropy,
  indexSelect,
  isGradEnabled,
  Linear,
  type Device,
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
import type { Targets } from "../modeling/input-facts.ts";
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
  const known = inputs.facts?.targets.get(inputs.labels);
  const targetLoss = nextTokenLoss(hidden, head, vocabSize, inputs.labels, inputs.numItemsInBatch, transform, known);
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
 * @param known what the labels say; absent: they are read
 * @throws ModelInputError for a label outside the vocabulary, and where there is nothing to take the mean of
 */
export function nextTokenLoss(
  hidden: Tensor,
  head: LanguageModelHead,
  vocabSize: number,
  labels: Tensor,
  numItemsInBatch?: number | Tensor,
  transform: LogitsTransform = (logits) => logits,
  known?: Targets,
): Tensor {
  const targets = known ?? readTargets(labels, vocabSize, hidden.device);
  const count = numItemsInBatch ?? targets.count;
  if (typeof count === "number" && !(count > 0)) {
    throw new ModelInputError(
      numItemsInBatch === undefined
        ? `labels: no position has a target (all labels are ${IGNORE_INDEX}, the first of a row never counts).`
        : `numItemsInBatch: expected a number above 0, found ${count}.`,
    );
  }
  const flat = reshape(hidden, [-1, hidden.shape.at(-1)!]);
  const x = indexSelect(flat, 0, targets.rows);
  const wanted = targets.labels;
  const plain = plainLinear(head);
  const sum =
    plain === undefined
      ? chunkedCrossEntropy(x, (chunk) => transform(head.forward(chunk)), wanted, rowsPerChunk(x.shape[0]!, vocabSize))
      : linearCrossEntropy(x, plain.weight, wanted, { bias: plain.bias, transform });
  return div(sum, count);
}

function readTargets(labels: Tensor, vocabSize: number, device: Device): Targets {
  const [batch, length] = labels.shape as [number, number];
  const { rows, targets, count } = shiftedTargets(labels.toInt32Array(), [batch, length], {
    vocabSize,
    isFilled: device !== "cpu",
  });
  return { rows: tensor(rows, { device }), labels: tensor(targets, { device }), count };
}

/**
 * Rows `b · T + t` that have a target, and the targets. For a GPU both are filled up with rows that do not count, so that their number, and
 * with it the shape of all that is computed of them, repeats from batch to batch: to a multiple of 64, or of a 16th of their number.
 * @param labels `[B, T]` in row-major order
 * @throws ModelInputError for a label outside the vocabulary
 */
export function shiftedTargets(
  labels: Int32Array,
  [batch, length]: readonly [number, number],
  { vocabSize = Infinity, isFilled }: { vocabSize?: number; isFilled: boolean },
): { rows: Int32Array; targets: Int32Array; count: number } {
  const rows: number[] = [];
  const targets: number[] = [];
  for (let at = 0; at < batch * length; at++) {
    const label = labels[at]!;
    if (at % length === 0 || label === IGNORE_INDEX) {
      continue;
    }
    if (label < 0 || label >= vocabSize) {
      throw new ModelInputError(
        `labels: expected token ids from 0 to ${vocabSize - 1} or ${IGNORE_INDEX}, found ${label} in row ${Math.floor(at / length)}, position ${at % length}.`,
      );
    }
    rows.push(at - 1);
    targets.push(label);
  }
  const count = rows.length;
  const size = isFilled ? filledSize(count) : count;
  const filledRows = new Int32Array(size).fill(rows[0] ?? 0);
  const filledTargets = new Int32Array(size).fill(IGNORE_INDEX);
  filledRows.set(rows);
  filledTargets.set(targets);
  return { rows: filledRows, targets: filledTargets, count };
}

function filledSize(count: number): number {
  const step = Math.max(64, 2 ** Math.floor(Math.log2(Math.max(count, 1)) - 4));
  return Math.ceil(count / step) * step;
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
