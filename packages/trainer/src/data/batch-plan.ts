import { setImmediate } from "node:timers/promises";
import { DatasetError } from "./errors.ts";
import { requireCount, type Sampler } from "./samplers.ts";

/** Where one rank stands among those that train together. */
export interface RankPosition {
  /** From 0. */
  readonly rank: number;
  readonly worldSize: number;
}

export interface BatchPlanOptions {
  /** Samples of a micro-batch on one rank. */
  readonly batchSize: number;
  /** Micro-batches of an optimiser step on one rank. */
  readonly accumulationSteps?: number | undefined;
  /** Whether to leave out what does not fill a batch (on every rank) at the end of an epoch. */
  readonly dropLast?: boolean | undefined;
  readonly position?: RankPosition | undefined;
}

/** Work between two turns of the event loop. */
const SLICE_MILLISECONDS = 8;

/** One optimiser step of one rank. */
export interface PlannedStep {
  /** Epoch, from 0. */
  readonly epoch: number;
  /** Step within the epoch, from 0. */
  readonly stepInEpoch: number;
  /** Sample numbers of every micro-batch. */
  readonly microBatches: readonly Int32Array[];
}

/**
 * Which samples every optimiser step sees, as the HF Trainer with accelerate deals them: the epoch's order is cut into batches, rank r
 * takes batches r, r + worldSize, … and with several ranks the last round is filled up from the start of the order, so that all ranks
 * have as many full batches. The last accumulation group of an epoch is a step even if it is incomplete. Any step can be asked for,
 * in any order: a run resumes by asking for the step after its last.
 */
export class BatchPlan {
  /** Micro-batches of an epoch on one rank. */
  readonly microBatchesPerEpoch: number;
  /** Optimiser steps of an epoch. */
  readonly stepsPerEpoch: number;
  /** Samples of an epoch over all ranks that are taken twice to fill the last round. */
  readonly repeatedSamples: number;
  /** Samples left out at the end of every epoch. */
  readonly droppedSamples: number;
  readonly #sampler: Sampler;
  readonly #batchSize: number;
  readonly #accumulation: number;
  readonly #rank: number;
  readonly #worldSize: number;
  #order: { readonly epoch: number; readonly samples: Int32Array } | undefined;

  constructor(sampler: Sampler, options: BatchPlanOptions) {
    const { rank, worldSize } = options.position ?? { rank: 0, worldSize: 1 };
    this.#sampler = sampler;
    this.#batchSize = requireCount("the batch size", options.batchSize);
    this.#accumulation = requireCount("gradient_accumulation_steps", options.accumulationSteps ?? 1);
    this.#worldSize = requireCount("the number of ranks", worldSize);
    if (!Number.isInteger(rank) || rank < 0 || rank >= worldSize) {
      throw new DatasetError("the rank is not usable", {}, { expected: `0 to ${worldSize - 1}`, found: String(rank) });
    }
    this.#rank = rank;
    const round = this.#batchSize * worldSize;
    const drop = options.dropLast === true;
    this.microBatchesPerEpoch = drop ? Math.floor(sampler.length / round) : Math.ceil(sampler.length / round);
    if (this.microBatchesPerEpoch === 0) {
      throw new DatasetError(
        "not one batch",
        {},
        {
          expected: `at least ${round} samples with dataloader_drop_last`,
          found: String(sampler.length),
        },
      );
    }
    this.stepsPerEpoch = Math.ceil(this.microBatchesPerEpoch / this.#accumulation);
    this.droppedSamples = drop ? sampler.length - this.microBatchesPerEpoch * round : 0;
    this.repeatedSamples = drop || worldSize === 1 ? 0 : this.microBatchesPerEpoch * round - sampler.length;
  }

  /** Optimiser step `step` of the run, from 0. */
  step(step: number): PlannedStep {
    if (!Number.isSafeInteger(step) || step < 0) {
      throw new DatasetError("no such step", {}, { expected: "an integer from 0", found: String(step) });
    }
    const epoch = Math.floor(step / this.stepsPerEpoch);
    const stepInEpoch = step % this.stepsPerEpoch;
    const first = stepInEpoch * this.#accumulation;
    const last = Math.min(first + this.#accumulation, this.microBatchesPerEpoch);
    const microBatches: Int32Array[] = [];
    for (let i = first; i < last; i++) microBatches.push(this.batch(epoch, i));
    return { epoch, stepInEpoch, microBatches };
  }

  /** Puts the samples of an epoch in order, where that takes long enough for the event loop to need its turns. */
  async prepareEpoch(epoch: number): Promise<void> {
    if (this.#order?.epoch === epoch || this.#sampler.orderInSlices === undefined) return;
    const work = this.#sampler.orderInSlices(epoch);
    let end = performance.now() + SLICE_MILLISECONDS;
    for (let step = work.next(); ; step = work.next()) {
      if (step.done === true) {
        this.#order = { epoch, samples: step.value };
        return;
      }
      if (performance.now() < end) continue;
      await setImmediate();
      end = performance.now() + SLICE_MILLISECONDS;
    }
  }

  /** Micro-batches of an epoch on this rank: as many in every epoch. */
  batchCount(): number {
    return this.microBatchesPerEpoch;
  }

  /** Sample numbers of micro-batch `index` of an epoch, both from 0. */
  batch(epoch: number, index: number): Int32Array {
    if (!Number.isInteger(index) || index < 0 || index >= this.microBatchesPerEpoch) {
      const expected = `0 to ${this.microBatchesPerEpoch - 1}`;
      throw new DatasetError("no such micro-batch", {}, { expected, found: String(index) });
    }
    if (this.#order?.epoch !== epoch) this.#order = { epoch, samples: this.#sampler.order(epoch) };
    const { samples } = this.#order;
    const start = (index * this.#worldSize + this.#rank) * this.#batchSize;
    const end = start + this.#batchSize;
    if (end <= samples.length) return samples.slice(start, end);
    // One rank ends an epoch with a smaller batch; several begin the order again.
    if (this.#worldSize === 1) return samples.slice(start);
    return Int32Array.from({ length: this.#batchSize }, (_, i) => samples[(start + i) % samples.length]!);
  }
}
