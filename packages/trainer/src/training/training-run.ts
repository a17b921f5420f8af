import type { Tensor } from "@fms-accel/tensor";
import type { LossScaler } from "../optimizer/loss-scaler.ts";
import type { Optimizer } from "../optimizer/optimizer.ts";
import type { Schedule } from "../schedules.ts";
import type { Batch } from "../slots.ts";
import { computeStep, DeferredStep } from "./deferred-step.ts";
import { PendingValues } from "./pending-values.ts";
import type { StepGraphs } from "./step-graphs.ts";
import { countStep } from "./step-counts.ts";
import { accumulateGradient, finishGradient, type StepEvents, type StepParts, type StepReport } from "./train-step.ts";

/** The moving parts of a run: optimiser, schedule and loss scale, and how a step uses them. */
export class TrainingRun<Model> {
  readonly parts: StepParts<Model>;
  readonly optimizer: Optimizer;
  readonly schedule: Schedule;
  readonly scaler: LossScaler | undefined;
  /**
   * Whether loss and norm of a step stay on the device until somebody asks for them. Such a run moves its schedule before it knows that the
   * gradient is finite, so a step that is not must end it.
   */
  readonly defersValues: boolean;
  /** Captured steps; with `defersValues` only. */
  readonly graphs: StepGraphs | undefined;
  readonly #pending = new PendingValues();
  /** Optimiser steps made: where the schedule stands. Steps that were left out do not move it. */
  scheduleStep = 0;

  constructor(
    parts: StepParts<Model>,
    optimizer: Optimizer,
    schedule: Schedule,
    { defersValues = false, graphs }: { defersValues?: boolean; graphs?: StepGraphs | undefined } = {},
  ) {
    this.parts = parts;
    this.optimizer = optimizer;
    this.schedule = schedule;
    this.scaler = parts.scaler;
    this.defersValues = defersValues;
    this.graphs = graphs;
  }

  /** One optimiser step over the micro-batches. The weights stay as they are when there is no gradient, or none that is finite. */
  async step(batches: readonly Batch[], events: StepEvents): Promise<StepReport> {
    const started = performance.now();
    const learningRate = this.schedule(this.scheduleStep);
    const counts = await countStep(batches, this.parts.communicator);
    const { trainableTokens } = counts;
    if (this.defersValues && trainableTokens > 0) {
      this.optimizer.setLearningRate(learningRate);
      const values = await this.#compute(batches, trainableTokens, events);
      this.scheduleStep++;
      return new DeferredStep(
        { ...counts, learningRate, seconds: (performance.now() - started) / 1000 },
        this.#pending.add(values),
      );
    }
    const loss = await accumulateGradient(this.parts, batches, trainableTokens, () => events.afterBatch());
    let gradNorm: number | undefined;
    let updated = false;
    if (trainableTokens > 0 && Number.isFinite(loss)) {
      gradNorm = await finishGradient(this.parts);
      await events.beforeUpdate();
      updated = Number.isFinite(gradNorm);
      if (updated) {
        this.optimizer.setLearningRate(learningRate);
        this.optimizer.step();
        this.scheduleStep++;
      }
      this.scaler?.update(updated);
      await events.afterUpdate();
    }
    this.optimizer.zeroGrad();
    return { ...counts, learningRate, loss, gradNorm, updated, seconds: (performance.now() - started) / 1000 };
  }

  async #compute(batches: readonly Batch[], trainableTokens: number, events: StepEvents): Promise<Tensor> {
    if (this.graphs !== undefined) {
      if (events.areHeard?.() === true) this.graphs.refuse("a callback listens to what happens inside of a step");
      else {
        const counting = batches.filter((batch) => batch.trainableTokens > 0);
        const values = this.graphs.run(counting, trainableTokens);
        if (values !== undefined) return values;
      }
    }
    return computeStep(this.parts, this.optimizer, batches, trainableTokens, events);
  }

  /** Drops gradients, graphs, the optimiser's state, and numbers that nobody has asked for. */
  dispose(): void {
    this.#pending.dispose();
    this.optimizer.zeroGrad();
    this.graphs?.dispose();
    this.optimizer.dispose();
  }

  /** What a checkpoint keeps of it. */
  snapshot(): { optimizer: Optimizer; schedule: Schedule; scheduleStep: number; scaler: LossScaler | undefined } {
    return { optimizer: this.optimizer, schedule: this.schedule, scheduleStep: this.scheduleStep, scaler: this.scaler };
  }
}
