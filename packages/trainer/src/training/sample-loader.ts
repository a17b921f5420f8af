import type { Batch, BatchSampler, Collator, DataLoader, SampleSource } from "../slots.ts";

/** The standard data loader: a batch sampler says which samples, a collator makes the batch. */
export class SampleLoader implements DataLoader {
  readonly sampleCount: number;
  readonly #source: SampleSource;
  readonly #sampler: BatchSampler;
  readonly #collate: Collator;

  constructor(source: SampleSource, sampler: BatchSampler, collator: Collator) {
    this.sampleCount = source.length;
    this.#source = source;
    this.#sampler = sampler;
    this.#collate = collator;
  }

  batchCount(epoch: number): number {
    return this.#sampler.batchCount(epoch);
  }

  async prepareEpoch(epoch: number): Promise<void> {
    await this.#sampler.prepareEpoch?.(epoch);
  }

  async *batches(epoch: number, first: number): AsyncGenerator<Batch> {
    await this.prepareEpoch(epoch);
    const count = this.#sampler.batchCount(epoch);
    for (let index = first; index < count; index++) {
      const samples = Array.from(this.#sampler.batch(epoch, index), (number) => this.#source.sample(number));
      yield this.#collate(samples);
    }
  }
}
