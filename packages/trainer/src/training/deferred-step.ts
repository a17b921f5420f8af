import type { CausalLMInputs } from "@fms-accel/models";
import { autocast, cat, clipGradients, reshape, scope, type Tensor } from "@fms-accel/tensor";
import type { Optimizer } from "../optimizer/optimizer.ts";
import type { Batch } from "../slots.ts";
import { batchInputs } from "./batch.ts";
import type { DeferredValues } from "./pending-values.ts";
import type { StepEvents, StepParts, StepReport } from "./train-step.ts";

type KnownOfStep = Omit<StepReport, "isPending" | "loss" | "gradNorm" | "updated">;

/** What a step on a GPU did: loss and norm are read when somebody asks, which waits for the device. */
export class DeferredStep implements StepReport {
  readonly learningRate: number;
  readonly trainableTokens: number;
  readonly inputTokens: number;
  readonly samples: number;
  readonly positions: number;
  readonly maskedBatches: number;
  readonly seconds: number;
  readonly #values: DeferredValues;

  /** @param values the losses of the micro-batches, the norm, and 1 where all of these are finite */
  constructor(known: KnownOfStep, values: DeferredValues) {
    this.learningRate = known.learningRate;
    this.trainableTokens = known.trainableTokens;
    this.inputTokens = known.inputTokens;
    this.samples = known.samples;
    this.positions = known.positions;
    this.maskedBatches = known.maskedBatches;
    this.seconds = known.seconds;
    this.#values = values;
  }

  get isPending(): boolean {
    return this.#values.isPending;
  }
  get loss(): number {
    return this.#values
      .read()
      .subarray(0, -2)
      .reduce((sum, loss) => sum + loss, 0);
  }
  get gradNorm(): number | undefined {
    return Number.isFinite(this.loss) ? this.#values.read().at(-2) : undefined;
  }
  get updated(): boolean {
    return this.#values.read().at(-1) === 1;
  }
}

function backwardOf<Model>({ model, loss, autocastDtype }: StepParts<Model>, inputs: () => CausalLMInputs): Tensor {
  return scope(() => {
    const own = autocast(autocastDtype, () => loss(model, inputs()));
    own.backward();
    return reshape(own.detach(), [1]);
  });
}

/**
 * Gradient, clipping and update of a step without a look at any of its numbers: the device itself leaves the weights alone where something
 * is not finite.
 *
 * @param batches those that have trainable tokens
 * @returns float32 `[batches + 2]`: see `DeferredStep`
 */
export async function computeStep<Model>(
  parts: StepParts<Model>,
  optimizer: Optimizer,
  batches: readonly Batch[],
  trainableTokens: number,
  events: StepEvents,
): Promise<Tensor> {
  const losses: Tensor[] = [];
  for (const [index, batch] of batches.entries()) {
    if (batch.trainableTokens > 0)
      losses.push(backwardOf(parts, () => batchInputs(batch, parts.device, trainableTokens)));
    if (index < batches.length - 1) await events.afterBatch();
  }
  const values = cat(losses, 0);
  const outcome = clipGradients(parts.params, maxNormOf(parts), values);
  await events.beforeUpdate();
  optimizer.step(outcome);
  await events.afterUpdate();
  optimizer.zeroGrad();
  const found = cat([values, outcome], 0);
  for (const made of [...losses, values, outcome]) made.dispose();
  return found;
}

/** The same in one go, to be captured. */
export function recordStep<Model>(
  parts: StepParts<Model>,
  optimizer: Optimizer,
  inputs: readonly CausalLMInputs[],
): Tensor {
  const values = cat(
    inputs.map((own) => backwardOf(parts, () => own)),
    0,
  );
  const outcome = clipGradients(parts.params, maxNormOf(parts), values);
  optimizer.step(outcome);
  optimizer.zeroGrad();
  return cat([values, outcome], 0);
}

function maxNormOf({ maxGradNorm }: Pick<StepParts<unknown>, "maxGradNorm">): number {
  return maxGradNorm === 0 ? Number.POSITIVE_INFINITY : maxGradNorm;
}
