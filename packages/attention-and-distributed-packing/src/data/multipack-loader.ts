import { crc32 } from "node:zlib";
import type { Batch, Collator, DataLoader } from "@fms-accel/trainer";
import type { FittedSamples } from "../packing/fitted-samples.ts";
import type { MultipackBatchSampler } from "../packing/multipack-sampler.ts";
import { collatePackedRows } from "./packed-rows.ts";

/** What a rank without a share in the last step gets: it computes nothing and takes part in what the ranks do together. */
const NO_BATCH: Batch = {
  shape: [0, 0],
  inputIds: new Int32Array(),
  labels: new Int32Array(),
  samples: 0,
  tokens: 0,
  trainableTokens: 0,
};

/** How a packed batch becomes one: samples side by side or flattened by a collator, or rows with several samples each. */
export type BatchLayout =
  | { readonly kind: "samples"; readonly collate: Collator }
  | { readonly kind: "rows"; readonly padTokenId: number };

/** The micro-batches of a multipack sampler. */
export class MultipackLoader implements DataLoader {
  readonly sampleCount: number;
  readonly order: string;
  readonly sampler: MultipackBatchSampler;
  readonly #samples: FittedSamples;
  readonly #layout: BatchLayout;

  /** @param order what the batches are made by, in words; a checksum of the samples' lengths is added to it */
  constructor(samples: FittedSamples, sampler: MultipackBatchSampler, layout: BatchLayout, order: string) {
    const { lengths } = samples;
    const checksum = crc32(new Uint8Array(lengths.buffer, lengths.byteOffset, lengths.byteLength));
    this.sampleCount = samples.length;
    this.order = `${order}, lengths ${checksum.toString(16).padStart(8, "0")}`;
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
    if (rows.length === 0) return NO_BATCH;
    if (this.#layout.kind === "rows") return collatePackedRows(rows, this.#layout);
    const samples = rows.flat();
    return { samples: samples.length, ...this.#layout.collate(samples) };
  }
}
