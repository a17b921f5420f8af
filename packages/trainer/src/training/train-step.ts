import {
  autocast,
  clipGradNorm,
  mul,
  scope,
  unscaleGradients,
  zeros,
  type Device,
  type DType,
  type Parameter,
} from "@fms-accel/tensor";
import { sumOverRanks, type Communicator } from "../communicator.ts";
import type { LossScaler } from "../optimizer/loss-scaler.ts";
import type { Batch, LossFunction } from "../slots.ts";
import { batchInputs } from "./batch.ts";
import type { StepCounts } from "./step-counts.ts";

/** Called inside a step, in this order. */
export interface StepEvents {
  afterBatch(): Promise<void>;
  beforeUpdate(): Promise<void>;
  afterUpdate(): Promise<void>;
  /** Whether somebody listens to these. */
  areHeard?(): boolean;
}

/** What one optimiser step did, on all ranks. Of a step on a GPU, looking at `loss`, `gradNorm` or `updated` waits for it. */
export interface StepReport extends StepCounts {
  /** Whether looking at them would wait now. */
  readonly isPending?: boolean;
  /** Mean cross entropy over the trainable tokens of the step; 0 when there are none. */
  readonly loss: number;
  /** Norm of the gradient before clipping; `undefined` when there was no gradient. */
  readonly gradNorm: number | undefined;
  readonly learningRate: number;
  /** Whether the optimiser moved the weights. */
  readonly updated: boolean;
  /** Wall time of the step without reading its data, in seconds; on a GPU, until its work was enqueued. */
  readonly seconds: number;
}

/** The parts that the gradient of a step goes through. */
export interface StepParts<Model> {
  readonly model: Model;
  readonly loss: LossFunction<Model>;
  readonly params: readonly Parameter[];
  readonly device: Device;
  readonly autocastDtype: DType | undefined;
  readonly scaler: LossScaler | undefined;
  readonly communicator: Communicator;
  /** 0: no clipping. */
  readonly maxGradNorm: number;
}

/**
 * Adds the gradient of a step's micro-batches up in `parameter.grad`. The summed cross entropy of each is divided by the trainable tokens of
 * the whole step over all ranks, so any split of the same samples into micro-batches and ranks gives the same gradient.
 *
 * @param trainableTokens of the step, over all ranks
 * @param afterBatch called between micro-batches
 * @returns the loss of the step
 */
export async function accumulateGradient<Model>(
  parts: StepParts<Model>,
  batches: readonly Batch[],
  trainableTokens: number,
  afterBatch: () => Promise<void>,
): Promise<number> {
  const { model, loss: lossOf, device, autocastDtype, scaler, communicator } = parts;
  const losses = [];
  for (const [index, batch] of batches.entries()) {
    if (batch.trainableTokens > 0) {
      losses.push(
        scope(() => {
          const loss = autocast(autocastDtype, () => lossOf(model, batchInputs(batch, device, trainableTokens)));
          (scaler === undefined ? loss : mul(loss, scaler.scale)).backward();
          return loss.detach();
        }),
      );
    }
    if (index < batches.length - 1) await afterBatch();
  }
  let sum = 0;
  for (const loss of losses) {
    sum += loss.item();
    loss.dispose();
  }
  return sumOverRanks(communicator, sum);
}

/** Every rank ends with the same gradients: a parameter that had none on this rank but has on another begins with zeros. */
async function sumGradients(params: readonly Parameter[], communicator: Communicator): Promise<void> {
  const present = Int32Array.from(params, ({ grad }) => (grad === undefined ? 0 : 1));
  await communicator.allReduce(present, "sum");
  for (const [index, param] of params.entries()) {
    if (present[index] === 0) continue;
    param.grad ??= zeros(param.shape, { dtype: param.dtype, device: param.device });
    await communicator.allReduce(param.grad, "sum");
  }
}

/**
 * Sums the gradient over ranks, takes the loss scale out of it and clips it.
 *
 * @returns its norm before clipping; NaN or infinite when the gradient is not finite and must not be used
 */
export async function finishGradient(
  parts: Pick<StepParts<unknown>, "params" | "scaler" | "communicator" | "maxGradNorm">,
): Promise<number> {
  const { params, scaler, communicator, maxGradNorm } = parts;
  if (communicator.size > 1) await sumGradients(params, communicator);
  if (scaler !== undefined && !unscaleGradients(params, scaler.scale)) return Number.NaN;
  return clipGradNorm(params, maxGradNorm === 0 ? Number.POSITIVE_INFINITY : maxGradNorm);
}
