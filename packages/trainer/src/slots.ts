import type { CausalLMInputs } from "@fms-accel/models";
import type { Module, Tensor } from "@fms-accel/tensor";
import type { TrainingArguments } from "./arguments/groups.ts";
import type { Communicator } from "./communicator.ts";
import type { LongSamplePolicy, Sample, SampleLimit } from "./data/index.ts";
import { TrainingError } from "./errors.ts";

export type BatchShape = readonly [rows: number, width: number];

/**
 * One micro-batch on the host, int32 `[rows, width]` in row-major order. What `collate` makes is one; a plugin's collator may leave the mask
 * out and say positions or sequences instead.
 */
export interface Batch {
  readonly shape: BatchShape;
  readonly inputIds: Int32Array;
  /** -100 where there is nothing to learn. Not shifted: the model predicts `labels[t + 1]` from position `t`. */
  readonly labels: Int32Array;
  /** 1 on tokens, 0 on padding. Left out when nothing is padded. */
  readonly attentionMask?: Int32Array;
  /** Left out when they count from 0 in every row. */
  readonly positionIds?: Int32Array;
  /** Which sequence of its row a token belongs to, where several share a row. */
  readonly sequenceIds?: Int32Array;
  /** Samples in it, where rows are not samples: several may share a row. */
  readonly samples?: number;
  /** Tokens without padding. */
  readonly tokens: number;
  /** Targets of the loss: `labels[:, 1:] != -100`. Hugging Face's num_items_in_batch is their sum over a step and its ranks. */
  readonly trainableTokens: number;
}

/** Makes a micro-batch of samples. */
export type Collator = (samples: readonly Sample[]) => Batch;

/** Which samples make each micro-batch of this rank. A pure function of epoch and index, so a resumed run finds its place without a state. */
export interface BatchSampler {
  /** Micro-batches of an epoch, which counts from 0. */
  batchCount(epoch: number): number;
  /** Sample numbers of micro-batch `index` of an epoch. */
  batch(epoch: number, index: number): ArrayLike<number>;
  /** Awaited before anything is asked of an epoch: here an epoch may be planned without keeping the event loop. It may be asked for again. */
  prepareEpoch?(epoch: number): Promise<void>;
}

/** Micro-batches of one rank. */
export interface DataLoader {
  /** Micro-batches of an epoch, which counts from 0; Infinity where that is not known before the epoch has ended. */
  batchCount(epoch: number): number;
  /**
   * Micro-batches `first`, `first + 1`, … of an epoch; the earlier ones are not made.
   *
   * @param place what `place(epoch, first)` gave, in this process or an earlier one; without it a stream is read again from its start
   */
  batches(epoch: number, first: number, place?: StreamPlace): AsyncIterable<Batch>;
  /** Where a stream goes on after `batches` micro-batches of an epoch. */
  place?(epoch: number, batches: number): StreamPlace | undefined;
  /** The share of an epoch that `batches` micro-batches are, where their count does not say it. */
  progress?(epoch: number, batches: number): number;
  /** As in `BatchSampler`. */
  prepareEpoch?(epoch: number): Promise<void>;
  /** Samples in the data set, over all ranks. */
  readonly sampleCount: number;
  /** Has at least as many positions as any micro-batch, where those are not a number of samples. */
  readonly largestBatch?: BatchShape | undefined;
  /** How samples are dealt, where it is not by train_sampling_strategy. A run goes on from a checkpoint only where this is the same. */
  readonly order?: string;
}

/** The beginning of a window of a stream. With it a run goes on without reading what was before. */
export interface StreamPlace {
  /** Windows of the epoch before it. */
  readonly window: number;
  /** Micro-batches of this rank before it. */
  readonly batches: number;
  /** The first row that was not read yet. */
  readonly row: number;
  /** Samples that were read and wait: their rows, and which of the row's samples they are. */
  readonly waiting: readonly (readonly [row: number, piece: number])[];
}

/** Samples of a stream that are at hand together. */
export interface StreamWindow {
  readonly epoch: number;
  /** Windows of the epoch before it. */
  readonly index: number;
  /** Tokens of every sample: int32 [samples]. */
  readonly lengths: Int32Array;
  /** So many samples, the first ones, have waited since the window before. */
  readonly waited: number;
  /** Whether nothing comes behind it in this epoch. */
  readonly isLast: boolean;
}

export interface WindowPlan {
  /** Sample numbers of every micro-batch of this rank, row by row. All ranks have as many; a rank without a share in one has no row there. */
  readonly batches: readonly (readonly Int32Array[])[];
  /** Samples that wait for the next window; those of the last window that are left out. */
  readonly waiting: Int32Array;
}

/** Deals the samples of a stream out to micro-batches, a window at a time. Every rank plans the same and takes its own part. */
export interface WindowPlanner {
  /** How samples are dealt, in words; see `DataLoader.order`. */
  readonly order: string;
  /** Holds in place of max_seq_length where it is lower. */
  readonly limit?: SampleLimit | undefined;
  /** As in `DataLoader`. */
  readonly largestBatch?: BatchShape | undefined;
  /** A pure function of the window. */
  plan(window: StreamWindow): Promise<WindowPlan>;
  /** Makes a micro-batch of the samples of its rows. */
  batch(rows: readonly (readonly Sample[])[]): Batch;
  /** Lines on what was planned since it was asked last. */
  report?(): readonly string[];
}

/** A model as the trainer sees it: parameters, and a loss for a batch with labels. `CausalLM` and `PeftModel` are such models. */
export interface TrainableModel extends Module {
  forward(inputs: CausalLMInputs): { readonly loss: Tensor | undefined };
  /** The smallest length of the longest sequence whose batches are computed as those of `length`; absent: every length counts. */
  equivalentLength?(length: number): number;
}

/**
 * The loss of one micro-batch: a float32 scalar with a gradient, the SUM over its trainable tokens divided by `inputs.numItemsInBatch`, so
 * that micro-batches of a step add up to its token mean. Called inside a scope and, in mixed precision, inside autocast.
 */
export type LossFunction<Model> = (model: Model, inputs: CausalLMInputs) => Tensor;

/** Samples that can be read by their number. */
export interface SampleSource {
  readonly length: number;
  sample(index: number): Sample;
}

/** What a slot's builder may look at. */
export interface SlotContext {
  readonly args: TrainingArguments;
  readonly communicator: Communicator;
  /** What the user wants with samples that are longer than allowed; `undefined`: nothing was said. */
  readonly longSamples: LongSamplePolicy | undefined;
  /** Which set the part is for. Batch sampler and data loader are replaced in training only, the collator in both. */
  readonly set: "train" | "eval";
  /** Tokens of every sample, in the order of the data set: int32 [samples]. Empty where they are not known before training: streams. */
  readonly lengths: Int32Array;
  /** What fills up rows that are padded; any id will do, for the mask hides it. */
  readonly padTokenId: number;
  /** Shows a line on the rank that speaks. */
  readonly say: (line: string) => void;
}

/** What a data loader is made of. */
export interface DataLoaderContext extends SlotContext {
  readonly samples: SampleSource;
  readonly batchSampler: BatchSampler;
  readonly collator: Collator;
}

/** What a planner of windows is made of. */
export interface WindowPlannerContext extends SlotContext {
  readonly collator: Collator;
}

/** Parts of a trainer that a plugin may replace. Each builder gets the part that it replaces. */
export interface TrainerSlotTypes<Model> {
  readonly collator: (standard: Collator, context: SlotContext) => Collator;
  readonly batchSampler: (standard: BatchSampler, context: SlotContext) => BatchSampler | Promise<BatchSampler>;
  readonly dataLoader: (standard: DataLoader, context: DataLoaderContext) => DataLoader | Promise<DataLoader>;
  /** Of streams, in place of batch sampler and data loader. */
  readonly windowPlanner: (
    standard: WindowPlanner,
    context: WindowPlannerContext,
  ) => WindowPlanner | Promise<WindowPlanner>;
  readonly loss: (
    standard: LossFunction<Model>,
    context: Pick<SlotContext, "args" | "communicator">,
  ) => LossFunction<Model>;
}

export type TrainerSlotName = keyof TrainerSlotTypes<unknown>;

/** One claim: who replaces a part. */
export interface SlotClaim {
  readonly slot: TrainerSlotName;
  /** Name of the replacement, one in a trainer. */
  readonly id: string;
  readonly owner: string;
}

/** Who replaces what in one trainer. A slot can be claimed once; there is no registry beyond this object. */
export class TrainerSlots<Model> {
  readonly #claims = new Map<TrainerSlotName, SlotClaim & { readonly builder: unknown }>();

  /**
   * @param id name of the replacement; default: the owner's
   * @throws TrainingError when the slot is taken, or the id
   */
  claim<Slot extends TrainerSlotName>(
    slot: Slot,
    owner: string,
    builder: TrainerSlotTypes<Model>[Slot],
    id: string = owner,
  ): void {
    const holder = this.#claims.get(slot);
    if (holder !== undefined)
      throw new TrainingError(`${owner} wants to replace the ${slot}, but ${holder.owner} already does.`);
    for (const claim of this.#claims.values()) {
      if (claim.id === id)
        throw new TrainingError(
          `${owner} wants to replace the ${slot} as "${id}", but ${claim.owner} replaces the ${claim.slot} under this name. ` +
            "Give each replacement a name of its own.",
        );
    }
    this.#claims.set(slot, { slot, id, owner, builder });
  }

  /** The builder of a slot, if it is claimed. */
  builder<Slot extends TrainerSlotName>(slot: Slot): TrainerSlotTypes<Model>[Slot] | undefined {
    return this.#claims.get(slot)?.builder as TrainerSlotTypes<Model>[Slot] | undefined;
  }

  /** What is replaced, and by whom, in the order of the claims; for a summary. */
  claims(): readonly SlotClaim[] {
    return [...this.#claims.values()].map(({ slot, id, owner }) => ({ slot, id, owner }));
  }
}
