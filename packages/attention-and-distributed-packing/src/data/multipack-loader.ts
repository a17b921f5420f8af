import { crc32 } from "node:zlib";
import type { Batch, BatchShape, DataLoader } from "@fms-accel/trainer";
import type { FittedSamples } from "../packing/fitted-samples.ts";
import type { MultipackBatchSampler } from "../packing/multipack-sampler.ts";
import { layOutBatch, type BatchLayout } from "./batch-layout.ts";

/** The micro-batches of a multipack sampler. */
export class MultipackLoader implements DataLoader {
  readonly sampleCount: number;
  readonly order: string;
  readonly largestBatch: BatchShape;
  readonly sampler: MultipackBatchSampler;
  readonly #samples: FittedSamples;
  readonly #layout: BatchLayout;

  /** @param order what the batches are made by, in words; a checksum of the samples' lengths is added to it */
  constructor(
    samples: FittedSamples,
    sampler: MultipackBatchSampler,
    layout: BatchLayout,
    largestBatch: BatchShape,
    order: string,
  ) {
    const { lengths } = samples;
    const checksum = crc32(new Uint8Array(lengths.buffer, lengths.byteOffset, lengths.byteLength));
    this.sampleCount = samples.length;
    this.order = `${order}, lengths ${checksum.toString(16).padStart(8, "0")}`;
    this.largestBatch = largestBatch;
    this.sampler = sampler;
    this.#samples = samples;
    this.#layout = layout;
  }

  batchCount(epoch: number): number {
    return this.sampler.batchCount(epoch);
  }

  prepareEpoch(epoch: number): Promise<void> {
    return this.sampler.prepareEpoch(epoch);
  }

  async *batches(epoch: number, first: number): AsyncGenerator<Batch> {
    await this.prepareEpoch(epoch);
    const count = this.batchCount(epoch);
    for (let index = first; index < count; index++) yield this.#batch(epoch, index);
  }

  #batch(epoch: number, index: number): Batch {
    const rows = this.sampler
      .batchRows(epoch, index)
      .map((numbers) => Array.from(numbers, (number) => this.#samples.sample(number)));
    return layOutBatch(rows, this.#layout);
  }
}
