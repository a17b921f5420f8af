import type { Dataset, RowSamples, Sample, SampleReader } from "../data/index.ts";
import { TrainingError } from "../errors.ts";
import type { Batch, BatchShape, DataLoader, StreamPlace, WindowPlanner } from "../slots.ts";

export interface StreamOptions {
  readonly dataset: Dataset;
  /** Begins to read: each reader counts for itself what becomes of its rows. */
  readonly openReader: () => SampleReader;
  /** The same where every rank reads the same rows; default: each for itself. */
  readonly openSharedReader?: () => SampleReader;
  readonly planner: WindowPlanner;
  /** Samples that a window takes from the stream; those of the row that fills it all come with it. */
  readonly windowSize: number;
  /** Shows a line. */
  readonly say: (line: string) => void;
}

/** A sample, and how it is found again: its row, and which of the row's samples it is. */
interface StreamSample {
  readonly sample: Sample;
  readonly origin: readonly [row: number, piece: number];
}

/** A window of which batches were made, by its place in the stream. */
interface MadeWindow {
  readonly place: StreamPlace;
  /** Micro-batches of this rank in it. */
  readonly count: number;
  /** The row behind its last. */
  readonly end: number;
}

/**
 * Micro-batches of rows whose tokens are made while training goes on. Nothing but a window of samples is in memory. A window is a function of where
 * it begins, so a run goes on in the middle of one by making it again; the rows before it are not read.
 */
export class StreamLoader implements DataLoader {
  /** Rows: how many samples they make is not known. */
  readonly sampleCount: number;
  readonly order: string;
  readonly largestBatch: BatchShape | undefined;
  readonly #options: StreamOptions;
  /** The latest windows: a checkpoint may ask for the one before the last. */
  #made: MadeWindow[] = [];
  #epoch = -1;

  constructor(options: StreamOptions) {
    const { dataset, planner, windowSize } = options;
    this.sampleCount = dataset.length;
    this.order = `stream, windows of ${windowSize} samples, ${planner.order}`;
    this.largestBatch = planner.largestBatch;
    this.#options = options;
  }

  batchCount(): number {
    return Infinity;
  }

  place(epoch: number, batches: number): StreamPlace | undefined {
    return this.#window(epoch, batches)?.place;
  }

  progress(epoch: number, batches: number): number {
    const window = this.#window(epoch, batches);
    if (window === undefined) return 0;
    const { place, count, end } = window;
    const share = count === 0 ? 0 : (batches - place.batches) / count;
    return (place.row + share * (end - place.row)) / this.sampleCount;
  }

  /** The window that micro-batch `batches` is in, or begins. */
  #window(epoch: number, batches: number): MadeWindow | undefined {
    return epoch === this.#epoch ? this.#made.findLast(({ place }) => place.batches <= batches) : undefined;
  }

  async *batches(epoch: number, first: number, from?: StreamPlace): AsyncGenerator<Batch> {
    const { dataset, planner, openReader, openSharedReader = openReader } = this.#options;
    let place: StreamPlace = from ?? { window: 0, batches: 0, row: 0, waiting: [] };
    this.#epoch = epoch;
    this.#made = [];
    const reader = openSharedReader();
    const rows = new RowQueue(reader.read(place.row), place.row, dataset.length);
    try {
      let waiting = await this.#readAgain(place);
      for (;;) {
        const window = [...waiting, ...(await rows.take(this.#options.windowSize))];
        const isLast = rows.atEnd;
        const lengths = Int32Array.from(window, ({ sample }) => sample.inputIds.length);
        const plan = await planner.plan({
          epoch,
          index: place.window,
          lengths,
          waited: place.waiting.length,
          isLast,
        });
        waiting = Array.from(plan.waiting, (number) => window[number]!);
        const next: StreamPlace = {
          window: place.window + 1,
          batches: place.batches + plan.batches.length,
          row: rows.next,
          waiting: isLast ? [] : waiting.map(({ origin }) => origin),
        };
        this.#made = [
          ...this.#made.slice(-2),
          { place, count: plan.batches.length, end: rows.next },
          { place: next, count: 0, end: rows.next },
        ];
        for (let index = Math.max(0, first - place.batches); index < plan.batches.length; index++) {
          yield planner.batch(plan.batches[index]!.map((row) => Array.from(row, (number) => window[number]!.sample)));
        }
        place = next;
        if (!isLast) continue;
        if (waiting.length > 0)
          this.#options.say(`dataloader_drop_last leaves ${waiting.length} samples out at the end of this epoch.`);
        break;
      }
      if (place.batches === 0) {
        throw new TrainingError(
          `The training set (${dataset.length} rows) makes no batch: ${reader.report.lines().join("; ")}.`,
        );
      }
    } finally {
      dataset.release();
      this.#describe(reader);
    }
  }

  /** The samples that had been read and waited when a window began. */
  async #readAgain({ waiting }: StreamPlace): Promise<StreamSample[]> {
    const reader = this.#options.openReader();
    const samples: StreamSample[] = [];
    for (const origin of waiting) {
      const [row, piece] = origin;
      for await (const [found] of reader.read(row, row + 1)) {
        const sample = found?.samples[piece];
        if (sample === undefined) throw new TrainingError(`Row ${row} of the training set is not what it was.`);
        samples.push({ sample, origin });
      }
    }
    return samples;
  }

  /** What became of the rows that were read. */
  #describe({ report }: SampleReader): void {
    const { say, planner } = this.#options;
    for (const [index, line] of report.lines().entries())
      say(index === 0 ? `Training set, as far as it was read: ${line}.` : `  ${line}.`);
    for (const line of planner.report?.() ?? []) say(line);
  }
}

/** Rows from where a stream begins, taken as windows need them. */
class RowQueue {
  readonly #blocks: AsyncGenerator<readonly RowSamples[]>;
  readonly #length: number;
  /** Rows that were read with others and not taken yet. */
  #read: RowSamples[] = [];
  /** The first row that was not taken yet. */
  next: number;

  constructor(blocks: AsyncGenerator<readonly RowSamples[]>, first: number, length: number) {
    this.#blocks = blocks;
    this.#length = length;
    this.next = first;
  }

  get atEnd(): boolean {
    return this.next >= this.#length;
  }

  /** Rows until they make `count` samples, or all that are left. */
  async take(count: number): Promise<StreamSample[]> {
    const taken: StreamSample[] = [];
    while (taken.length < count && !this.atEnd) {
      if (this.#read.length === 0) {
        const block = await this.#blocks.next();
        if (block.done === true) throw new TrainingError(`The training set ends before row ${this.next}.`);
        this.#read = [...block.value];
      }
      const { row, samples } = this.#read.shift()!;
      for (const [piece, sample] of samples.entries()) taken.push({ sample, origin: [row, piece] });
      this.next = row + 1;
    }
    return taken;
  }
}
