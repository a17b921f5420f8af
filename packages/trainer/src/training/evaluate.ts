import { autocast, noGrad, scope, type Device, type DType } from "@fms-accel/tensor";
import { singleProcess, sumOverRanks, type Communicator } from "../communicator.ts";
import { TrainingError } from "../errors.ts";
import type { Batch, DataLoader, LossFunction, TrainableModel } from "../slots.ts";
import { batchInputs, samplesIn } from "./batch.ts";
import { modelLoss } from "./model-loss.ts";
import { yieldToEventLoop } from "./yield.ts";

export interface EvaluationOptions<Model> {
  readonly device: Device;
  /** Mixed precision, as in training. */
  readonly autocastDtype?: DType;
  readonly loss?: LossFunction<Model>;
  readonly communicator?: Communicator;
  /** After each batch; with batches of one row, the numbers of each sample. */
  readonly onBatch?: (result: BatchEvaluation) => void | Promise<void>;
}

export interface BatchEvaluation {
  readonly index: number;
  readonly batch: Batch;
  /** Mean over the trainable tokens of the batch; NaN when there is none. */
  readonly loss: number;
  readonly trainableTokens: number;
}

export interface EvaluationResult {
  /** Mean cross entropy over all trainable tokens, in nats. It does not depend on how samples are batched. */
  readonly loss: number;
  /** exp(loss). */
  readonly perplexity: number;
  readonly trainableTokens: number;
  /** Tokens without padding. */
  readonly inputTokens: number;
  readonly samples: number;
  readonly batches: number;
  /** Batches whose labels are all masked; they do not count. */
  readonly batchesWithoutTrainableTokens: number;
  readonly seconds: number;
}

/**
 * The loss of a model on a data set: no gradients, dropout off. The mean is over tokens, whereas Hugging Face's `eval_loss` is the mean over
 * samples of batch means, which changes with the batch size.
 *
 * @throws TrainingError when no token of the data set is trainable
 */
export async function evaluateLoss<Model extends TrainableModel>(
  model: Model,
  loader: DataLoader,
  options: EvaluationOptions<Model>,
): Promise<EvaluationResult> {
  const { device, autocastDtype, loss: lossOf = modelLoss, communicator = singleProcess } = options;
  const started = performance.now();
  const totals = { loss: 0, trainableTokens: 0, inputTokens: 0, samples: 0, batches: 0, masked: 0 };
  const wasTraining = model.training;
  model.eval();
  try {
    for await (const batch of loader.batches(0, 0)) {
      const { trainableTokens } = batch;
      // Divided by 1: the sum over tokens, so that batches add up.
      const sum =
        trainableTokens === 0
          ? 0
          : noGrad(() =>
              scope(() => autocast(autocastDtype, () => lossOf(model, batchInputs(batch, device, 1))).item()),
            );
      totals.loss += sum;
      totals.trainableTokens += trainableTokens;
      totals.inputTokens += batch.tokens;
      totals.samples += samplesIn(batch);
      if (trainableTokens === 0) totals.masked++;
      await options.onBatch?.({ index: totals.batches, batch, loss: sum / trainableTokens, trainableTokens });
      totals.batches++;
      await yieldToEventLoop();
    }
  } finally {
    model.train(wasTraining);
  }
  const sum = await sumOverRanks(communicator, totals.loss);
  const trainableTokens = await sumOverRanks(communicator, totals.trainableTokens);
  if (trainableTokens === 0) {
    throw new TrainingError(
      `The evaluation set (${totals.samples} samples) has no trainable token: every label is ${totals.samples === 0 ? "missing" : "masked"}.`,
    );
  }
  const loss = sum / trainableTokens;
  return {
    loss,
    perplexity: Math.exp(loss),
    trainableTokens,
    inputTokens: await sumOverRanks(communicator, totals.inputTokens),
    samples: await sumOverRanks(communicator, totals.samples),
    batches: await sumOverRanks(communicator, totals.batches),
    batchesWithoutTrainableTokens: await sumOverRanks(communicator, totals.masked),
    seconds: (performance.now() - started) / 1000,
  };
}
