import type { CausalLMInputs } from "@fms-accel/models";
import { tensor, type Device, type Tensor } from "@fms-accel/tensor";
import { TrainingError } from "../errors.ts";
import type { Batch, DataLoader } from "../slots.ts";

/**
 * The batch as int32 tensors: token ids on a device, the others on the CPU, where the model looks at them: reading them back from a GPU
 * would wait for all of its work.
 */
export function batchInputs(batch: Batch, device: Device, numItemsInBatch?: number): CausalLMInputs {
  const make = (data: Int32Array, on = "cpu"): Tensor =>
    tensor(data, { shape: batch.shape, dtype: "int32", device: on });
  return {
    inputIds: make(batch.inputIds, device),
    labels: make(batch.labels),
    ...(batch.attentionMask === undefined ? {} : { attentionMask: make(batch.attentionMask) }),
    ...(batch.positionIds === undefined ? {} : { positionIds: make(batch.positionIds) }),
    ...(batch.sequenceIds === undefined ? {} : { sequenceIds: make(batch.sequenceIds) }),
    ...(numItemsInBatch === undefined ? {} : { numItemsInBatch }),
  };
}

/** How many samples a batch holds. */
export function samplesIn({ samples, shape: [rows] }: Batch): number {
  return samples ?? rows;
}

/** Micro-batches that a program has at hand, in the same order in every epoch. */
export class BatchList implements DataLoader {
  readonly #batches: readonly Batch[];
  readonly sampleCount: number;

  /** @throws TrainingError for a batch whose arrays do not have `rows` × `width` elements */
  constructor(batches: readonly Batch[]) {
    for (const [index, batch] of batches.entries()) checkBatch(batch, `batch ${index}`);
    this.#batches = batches;
    this.sampleCount = batches.reduce((sum, batch) => sum + samplesIn(batch), 0);
  }

  batchCount(): number {
    return this.#batches.length;
  }

  async *batches(_epoch: number, first: number): AsyncGenerator<Batch> {
    yield* this.#batches.slice(first);
  }
}

function checkBatch(batch: Batch, where: string): void {
  const [rows, width] = batch.shape;
  for (const name of ["inputIds", "labels", "attentionMask", "positionIds", "sequenceIds"] as const) {
    const array = batch[name];
    if (array === undefined || array.length === rows * width) continue;
    throw new TrainingError(`${where}: ${name} must have ${rows} × ${width} elements, found ${array.length}.`);
  }
}

/** Groups micro-batches into optimiser steps; the last group of an epoch may be smaller. */
export async function* groupIntoSteps(batches: AsyncIterable<Batch>, size: number): AsyncGenerator<Batch[]> {
  let group: Batch[] = [];
  for await (const batch of batches) {
    group.push(batch);
    if (group.length < size) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}
