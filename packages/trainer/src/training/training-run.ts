import type { LossScaler } from "../optimizer/loss-scaler.ts";
import type { Optimizer } from "../optimizer/optimizer.ts";
import type { Schedule } from "../schedules.ts";
import type { Batch } from "../slots.ts";
import { samplesIn } from "./batch.ts";
import { accumulateGradient, finishGradient, type StepParts, type StepReport } from "./train-step.ts";

/** Called inside a step, in this order. */
export interface StepEvents {
  afterBatch(): Promise<void>;
  beforeUpdate(): Promise<void>;
  afterUpdate(): Promise<void>;
}

/** The moving parts of a run: optimiser, schedule and loss scale, and how a step uses them. */
export class TrainingRun<Model> {
  readonly parts: StepParts<Model>;
  readonly optimizer: Optimizer;
  readonly schedule: Schedule;
  readonly scaler: LossScaler | undefined;
  /** Optimiser steps made: where the schedule stands. Steps that were left out do not move it. */
  scheduleStep = 0;

  constructor(parts: StepParts<Model>, optimizer: Optimizer, schedule: Schedule) {
    this.parts = parts;
    this.optimizer = optimizer;
    this.schedule = schedule;
    this.scaler = parts.scaler;
  }

  /** One optimiser step over the micro-batches. The weights stay as they are when there is no gradient, or none that is finite. */
  async step(batches: readonly Batch[], events: StepEvents): Promise<StepReport> {
    const started = performance.now();
    const gradient = await accumulateGradient(this.parts, batches, () => events.afterBatch());
    const learningRate = this.schedule(this.scheduleStep);
    let gradNorm: number | undefined;
    let updated = false;
    if (gradient.trainableTokens > 0 && Number.isFinite(gradient.loss)) {
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
    return {
      loss: gradient.loss,
      gradNorm,
      learningRate,
      trainableTokens: gradient.trainableTokens,
      inputTokens: batches.reduce((sum, batch) => sum + batch.tokens, 0),
      samples: batches.reduce((sum, batch) => sum + samplesIn(batch), 0),
      positions: batches.reduce((sum, { shape: [rows, width] }) => sum + rows * width, 0),
      maskedBatches: gradient.maskedBatches,
      updated,
      seconds: (performance.now() - started) / 1000,
    };
  }

  /** What a checkpoint keeps of it. */
  snapshot(): { optimizer: Optimizer; schedule: Schedule; scheduleStep: number; scaler: LossScaler | undefined } {
    return { optimizer: this.optimizer, schedule: this.schedule, scheduleStep: this.scheduleStep, scaler: this.scaler };
  }
}
