import type { Tensor } from "@fms-accel/tensor";
import type { TrainingArguments } from "./arguments/groups.ts";
import type { Communicator } from "./communicator.ts";
import { TrainingError } from "./errors.ts";

/** One micro-batch on the host, row-major `[rows, width]`, as a collator makes it. */
export interface Batch {
  readonly rows: number;
  readonly width: number;
  readonly inputIds: Int32Array;
  /** -100 where there is nothing to learn. Not shifted: the model predicts `labels[t + 1]` from position `t`. */
  readonly labels: Int32Array;
  /** 1 on real tokens, 0 on padding. Left out when nothing is padded. */
  readonly attentionMask?: Int32Array;
  /** Left out when they count from 0 in every row. */
  readonly positionIds?: Int32Array;
  /** Further int32 inputs of `model.forward`, by name, each with its shape. */
  readonly extras?: Readonly<Record<string, { readonly data: Int32Array; readonly shape: readonly number[] }>>;
}

/** Makes a micro-batch of samples. */
export type Collator<Sample> = (samples: readonly Sample[]) => Batch;

/** The order of samples. A pure function of the epoch, so a resumed run finds its place without a state. */
export interface BatchSampler {
  /** Batches of this rank in an epoch counted from 0: indices into the data set. */
  epochBatches(epoch: number): readonly (readonly number[])[];
}

/** Micro-batches of one rank. */
export interface DataLoader {
  /** Number of micro-batches of an epoch. */
  batchCount(epoch: number): number;
  /** Micro-batches `first`, `first + 1`, … of an epoch; the earlier ones are not read. */
  batches(epoch: number, first: number): AsyncIterable<Batch>;
  /** Samples in the data set, over all ranks; for the summary of a run. */
  readonly sampleCount: number;
}

/** What `model.forward` takes: int32 tensors, `[rows, width]` unless they are extras. */
export interface ModelInputs {
  readonly inputIds: Tensor;
  readonly labels: Tensor;
  readonly attentionMask?: Tensor;
  readonly positionIds?: Tensor;
  /** Trainable tokens of the whole optimiser step: the summed loss is divided by it. Without it, by those of the batch. */
  readonly numItemsInBatch?: number;
  readonly [extra: string]: Tensor | number | undefined;
}

/**
 * The loss of one micro-batch: a float32 scalar with a gradient, the SUM over its trainable tokens divided by `inputs.numItemsInBatch`, so
 * that micro-batches of a step add up to its token mean. Called inside a scope and, in mixed precision, inside autocast.
 */
export type LossFunction<Model> = (model: Model, inputs: ModelInputs) => Tensor;

/** What a slot's builder may look at. */
export interface SlotContext {
  readonly args: TrainingArguments;
  readonly communicator: Communicator;
  /** Tokens of every training sample, in the order of the data set. */
  readonly lengths?: () => Promise<Int32Array>;
}

/** Parts of a trainer that a plugin may replace. Each builder gets the part that it replaces. */
export interface TrainerSlotTypes<Sample, Model> {
  readonly collator: (standard: Collator<Sample>, context: SlotContext) => Collator<Sample> | Promise<Collator<Sample>>;
  readonly batchSampler: (standard: BatchSampler, context: SlotContext) => BatchSampler | Promise<BatchSampler>;
  readonly dataLoader: (standard: DataLoader, context: SlotContext) => DataLoader | Promise<DataLoader>;
  readonly loss: (standard: LossFunction<Model>, context: SlotContext) => LossFunction<Model>;
}

/** Who replaces what in one trainer. A slot can be claimed once; there is no registry beyond this object. */
export class TrainerSlots<Sample, Model> {
  readonly #claims = new Map<keyof TrainerSlotTypes<Sample, Model>, { owner: string; builder: unknown }>();

  /** @throws TrainingError when another owner has the slot */
  claim<Slot extends keyof TrainerSlotTypes<Sample, Model>>(
    slot: Slot,
    owner: string,
    builder: TrainerSlotTypes<Sample, Model>[Slot],
  ): void {
    const holder = this.#claims.get(slot);
    if (holder !== undefined)
      throw new TrainingError(`${owner} wants to replace the ${slot}, but ${holder.owner} already does.`);
    this.#claims.set(slot, { owner, builder });
  }

  /** The builder of a slot, if it is claimed. */
  builder<Slot extends keyof TrainerSlotTypes<Sample, Model>>(
    slot: Slot,
  ): TrainerSlotTypes<Sample, Model>[Slot] | undefined {
    return this.#claims.get(slot)?.builder as TrainerSlotTypes<Sample, Model>[Slot] | undefined;
  }

  /** What is replaced, and by whom; for a summary. */
  claims(): readonly { readonly slot: string; readonly owner: string }[] {
    return [...this.#claims].map(([slot, { owner }]) => ({ slot, owner }));
  }
}
