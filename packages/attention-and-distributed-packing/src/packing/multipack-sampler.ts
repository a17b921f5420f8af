import { DatasetError, type BatchSampler, type RankPosition } from "@fms-accel/trainer";
import { planEpoch, type BinMeasure, type EpochPlan } from "./epoch-plan.ts";
import { listAt } from "./sample-lists.ts";
import { runAtOnce, runInSlices, type Sliced } from "./sliced.ts";
import { costOf } from "./spread-lists.ts";

export interface MultipackOptions {
  /**
   * Tokens of a micro-batch on one rank: at most so many in a batch without padding, and at most so many positions in a padded one. A
   * fraction counts as the whole number below.
   */
  readonly capacity: number;
  /** `tokens` for batches without padding, `padded` for samples side by side. */
  readonly measure: BinMeasure;
  /** Rows of a micro-batch that each hold several samples, with an equal share of the capacity; default 1. */
  readonly rows?: number | undefined;
  readonly position?: RankPosition | undefined;
  readonly seed: number;
}

/** How well the batches of an epoch are filled, over all ranks. */
export interface PackingStatistics {
  readonly samples: number;
  readonly tokens: number;
  /** Micro-batches of every rank. */
  readonly steps: number;
  /** Tokens that those have room for: steps × ranks × capacity. */
  readonly slots: number;
  /** tokens / slots. */
  readonly efficiency: number;
  /** The same without the last step when that is not full. */
  readonly fullStepEfficiency: number;
  /** Rows, or batches of one row, that are empty in the last step. */
  readonly idleRows: number;
  /** Positions that the model computes: padding of padded batches and of rows included. */
  readonly positions: number;
}

/**
 * Puts samples together so that every micro-batch of every rank has nearly the same number of tokens: the multipack sampler of
 * fms-acceleration, for any number of ranks from one. Every rank plans the same epoch by itself, from lengths, seed and epoch alone, and takes
 * its own part, so that all ranks have as many steps and a resumed run finds its place. Every sample is seen once an epoch.
 */
export class MultipackBatchSampler implements BatchSampler {
  readonly lengths: Int32Array;
  /** Tokens of a row. */
  readonly rowCapacity: number;
  readonly rows: number;
  readonly #options: MultipackOptions;
  readonly #position: RankPosition;
  #plan: { readonly epoch: number; readonly plan: EpochPlan } | undefined;

  /** @throws DatasetError for a capacity that no sample, or not every sample, fits into */
  constructor(lengths: Int32Array, options: MultipackOptions) {
    const { capacity, rows = 1, position = { rank: 0, worldSize: 1 } } = options;
    requireCount("the number of rows", rows);
    requireCount("the number of ranks", position.worldSize);
    if (!Number.isInteger(position.rank) || position.rank < 0 || position.rank >= position.worldSize) {
      const expected = `0 to ${position.worldSize - 1}`;
      throw new DatasetError("the rank is not usable", {}, { expected, found: String(position.rank) });
    }
    if (rows > 1 && options.measure === "padded")
      throw new DatasetError("rows that hold several samples are measured in tokens", {}, { found: "padded" });
    this.rows = rows;
    this.rowCapacity = Math.floor(capacity / rows);
    if (!(this.rowCapacity >= 1) || capacity > Number.MAX_SAFE_INTEGER) {
      const expected = rows === 1 ? "tokens from 1 on" : `tokens from ${rows} on: one for each row`;
      throw new DatasetError("the capacity of a batch is not usable", {}, { expected, found: String(capacity) });
    }
    if (lengths.length === 0) throw new DatasetError("no samples to pack");
    for (let sample = 0; sample < lengths.length; sample++) {
      const length = lengths[sample]!;
      if (length >= 0 && length <= this.rowCapacity) continue;
      const found = `${length} tokens in sample ${sample}`;
      const expected = `at most ${this.rowCapacity} tokens in a sample`;
      throw new DatasetError("a sample does not fit into a batch", {}, { expected, found });
    }
    this.lengths = lengths;
    this.#options = options;
    this.#position = position;
  }

  /** Plans an epoch in slices; the event loop runs between them. */
  async prepareEpoch(epoch: number): Promise<void> {
    if (this.#plan?.epoch !== epoch) this.#plan = { epoch, plan: await runInSlices(this.#work(epoch)) };
  }

  batchCount(epoch: number): number {
    return this.plan(epoch).steps;
  }

  /** Sample numbers of this rank's micro-batch, row by row; empty for a rank without a share in the last step. */
  batch(epoch: number, index: number): Int32Array {
    const rows = this.batchRows(epoch, index);
    if (rows.length === 1) return rows[0]!;
    return Int32Array.from(rows.flatMap((row) => Array.from(row)));
  }

  /** The same as one list for each row that is not empty. */
  batchRows(epoch: number, index: number): Int32Array[] {
    const plan = this.plan(epoch);
    if (!Number.isInteger(index) || index < 0 || index >= plan.steps) {
      throw new DatasetError("no such micro-batch", {}, { expected: `0 to ${plan.steps - 1}`, found: String(index) });
    }
    const { rank, worldSize } = this.#position;
    return Array.from({ length: this.rows }, (_, row) =>
      listAt(plan, index * plan.lanes + row * worldSize + rank),
    ).filter((row) => row.length > 0);
  }

  /** The whole plan of an epoch; made at once unless `prepareEpoch` did. Lane `row × ranks + rank` is a row of a rank. */
  plan(epoch: number): EpochPlan {
    if (this.#plan?.epoch !== epoch) this.#plan = { epoch, plan: runAtOnce(this.#work(epoch)) };
    return this.#plan.plan;
  }

  statistics(epoch: number): PackingStatistics {
    return runAtOnce(this.#measure(epoch));
  }

  /** The same in slices; the event loop runs between them. */
  async measureEpoch(epoch: number): Promise<PackingStatistics> {
    await this.prepareEpoch(epoch);
    return runInSlices(this.#measure(epoch));
  }

  *#measure(epoch: number): Sliced<PackingStatistics> {
    const plan = this.plan(epoch);
    const { lengths, rowCapacity } = this;
    const { measure } = this.#options;
    const ranks = this.#position.worldSize;
    const totals = { tokens: 0, positions: 0, idleRows: 0, inLastStep: 0 };
    for (let step = 0; step < plan.steps; step++) {
      for (let rank = 0; rank < ranks; rank++) {
        let widest = 0;
        let used = 0;
        for (let row = 0; row < this.rows; row++) {
          const list = listAt(plan, step * plan.lanes + row * ranks + rank);
          if (list.length === 0) totals.idleRows++;
          else used++;
          const tokens = costOf(list, lengths, "tokens");
          totals.tokens += tokens;
          if (step === plan.steps - 1) totals.inLastStep += tokens;
          widest = Math.max(widest, costOf(list, lengths, measure));
        }
        totals.positions += widest * used;
      }
      if (step % 1024 === 0) yield;
    }
    const slotsOfStep = plan.lanes * rowCapacity;
    const slots = plan.steps * slotsOfStep;
    const isLastPartial = plan.steps > 1 && this.#isLastStepPartial(plan);
    return {
      samples: lengths.length,
      tokens: totals.tokens,
      steps: plan.steps,
      slots,
      efficiency: totals.tokens / slots,
      fullStepEfficiency: isLastPartial
        ? (totals.tokens - totals.inLastStep) / (slots - slotsOfStep)
        : totals.tokens / slots,
      idleRows: totals.idleRows,
      positions: totals.positions,
    };
  }

  /** Whether the samples of the last step would have fitted into fewer rows. */
  #isLastStepPartial(plan: EpochPlan): boolean {
    return plan.bins < plan.steps * plan.lanes;
  }

  #work(epoch: number): Sliced<EpochPlan> {
    const { measure, seed } = this.#options;
    const lanes = this.rows * this.#position.worldSize;
    return planEpoch(this.lengths, { capacity: this.rowCapacity, measure, lanes, seed }, epoch);
  }
}

function requireCount(name: string, value: number): void {
  if (Number.isInteger(value) && value >= 1) return;
  throw new DatasetError(`${name} is not usable`, {}, { expected: "an integer from 1", found: String(value) });
}
