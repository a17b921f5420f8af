/** Streams: rows become tokens while training goes on, a window at a time. */
import { fixturePath } from "@fms-accel/test-utilities";
import { modelTensors, type CausalLM } from "@fms-accel/models";
import { describe, expect, it } from "vitest";
import {
  ArgumentError,
  collate,
  createSampleReader,
  InMemoryDataset,
  loadDataset,
  SftTrainer,
  StreamLoader,
  TrainerSlots,
  TrainingError,
  type Batch,
  type Dataset,
  type RankPosition,
  type Row,
  type SampleReaderOptions,
  type StreamPlace,
  type TrainingArgumentsInput,
} from "../../src/index.ts";
import { resolveTrainingArguments } from "../../src/arguments/parse.ts";
import { standardWindowPlanner } from "../../src/training/window-planner.ts";
import { makeModel, makeTrainer } from "./small-run.ts";

/** Row i is i + 1 tokens of number i. */
const rows = (count: number): Row[] =>
  Array.from({ length: count }, (_, i) => ({ input_ids: Array.from({ length: 1 + (i % 7) }, () => i) }));

/** Notes from where it is read. */
class WatchedDataset extends InMemoryDataset {
  readonly starts: number[] = [];

  override rows(start = 0, end?: number): AsyncGenerator<Row> {
    this.starts.push(start);
    return super.rows(start, end);
  }
}

interface StreamSetting {
  readonly dataset: Dataset;
  readonly windowSize: number;
  readonly args?: TrainingArgumentsInput;
  readonly position?: RankPosition;
  readonly options?: SampleReaderOptions;
  readonly lines?: string[];
}

function stream({ dataset, windowSize, args, position, options, lines = [] }: StreamSetting): StreamLoader {
  const { training } = resolveTrainingArguments({
    perDeviceTrainBatchSize: 4,
    saveStrategy: "no",
    streaming: true,
    maxSteps: 1,
    ...args,
  });
  const collator = (samples: Parameters<typeof collate>[0]): Batch => collate(samples, { padTokenId: 0 });
  return new StreamLoader({
    dataset,
    openReader: () => createSampleReader(dataset, undefined, options),
    planner: standardWindowPlanner(training, position ?? { rank: 0, worldSize: 1 }, collator),
    windowSize,
    say: (line) => lines.push(line),
  });
}

/** The first token of every sample of every batch: which rows they are. */
async function rowsOf(loader: StreamLoader, epoch = 0, first = 0, place?: StreamPlace): Promise<number[][]> {
  const found: number[][] = [];
  for await (const { inputIds, shape } of loader.batches(epoch, first, place))
    found.push(Array.from({ length: shape[0] }, (_, row) => inputIds[row * shape[1]]!));
  return found;
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe("a stream", () => {
  it.each([1, 3, 10, 64, 1000])("in windows of %i samples has every sample once an epoch", async (windowSize) => {
    const loader = stream({ dataset: new InMemoryDataset(rows(150)), windowSize });
    const batches = await rowsOf(loader);
    expect(batches.map(({ length }) => length)).toEqual([...numbers(37).fill(4), 2]);
    expect(batches.flat().sort((a, b) => a - b)).toEqual(numbers(150));
    expect(loader.progress(0, batches.length)).toBe(1);
  });

  it("is shuffled within its windows, otherwise in another epoch or by another seed, and the same by the same", async () => {
    const dataset = new InMemoryDataset(rows(150));
    const make = (seed: number): StreamLoader => stream({ dataset, windowSize: 50, args: { seed } });
    const first = await rowsOf(make(1));
    expect(first[0]).not.toEqual([0, 1, 2, 3]);
    expect(Math.max(...first.slice(0, 12).flat())).toBeLessThan(50);
    expect(await rowsOf(make(1))).toEqual(first);
    expect(await rowsOf(make(1), 1)).not.toEqual(first);
    expect(await rowsOf(make(2))).not.toEqual(first);
  });

  it("goes on anywhere with what a pass from its start would see there, and reads no row before that", async () => {
    const data = rows(150);
    const make = (source: Dataset): StreamLoader => stream({ dataset: source, windowSize: 30 });
    const whole = await rowsOf(make(new InMemoryDataset(data)));
    for (const first of [0, 1, 7, 8, 15, 30, 37]) {
      const begun = make(new InMemoryDataset(data));
      const seen: number[][] = [];
      for await (const batch of begun.batches(0, 0)) {
        seen.push([batch.inputIds[0]!]);
        if (seen.length >= first) break;
      }
      const place = JSON.parse(JSON.stringify(begun.place(0, first))) as StreamPlace;
      const watched = new WatchedDataset(data);
      expect(await rowsOf(make(watched), 0, first, place)).toEqual(whole.slice(first));
      expect(Math.min(...watched.starts)).toBeGreaterThanOrEqual(
        Math.min(place.row, ...place.waiting.map(([row]) => row)),
      );
      expect(place.row).toBeGreaterThanOrEqual(4 * first - 33);
      // Without a place it is read again from its start.
      expect(await rowsOf(make(new InMemoryDataset(data)), 0, first)).toEqual(whole.slice(first));
    }
  });

  it.each([2, 3])("gives %i ranks as many batches, and every sample to one of them", async (worldSize) => {
    const dataset = new InMemoryDataset(rows(150));
    const ranks = await Promise.all(
      numbers(worldSize).map((rank) => rowsOf(stream({ dataset, windowSize: 20, position: { rank, worldSize } }))),
    );
    expect(new Set(ranks.map(({ length }) => length))).toEqual(new Set([Math.ceil(150 / (4 * worldSize))]));
    const seen = ranks.flat(2);
    // The last round is filled up, as at the end of any epoch.
    expect([...new Set(seen)].sort((a, b) => a - b)).toEqual(numbers(150));
    expect(seen.length).toBe(ranks[0]!.length * 4 * worldSize);
  });

  it("drops the last, smaller batch where it is to, and counts it", async () => {
    const lines: string[] = [];
    const dataset = new InMemoryDataset(rows(150));
    const batches = await rowsOf(stream({ dataset, windowSize: 20, args: { dataloaderDropLast: true }, lines }));
    expect(batches.map(({ length }) => length)).toEqual(numbers(37).fill(4));
    expect(lines[0]).toBe("dataloader_drop_last leaves 2 samples out at the end of this epoch.");
  });

  it("counts what becomes of its rows, also where it is left in the middle", async () => {
    const lines: string[] = [];
    const data = rows(150).map((row, i) => (i % 10 === 3 ? { input_ids: [] } : row));
    const setting = { dataset: new InMemoryDataset(data), windowSize: 20, options: { maxSeqLength: 5 }, lines };
    expect((await rowsOf(stream(setting))).flat()).toHaveLength(135);
    expect(lines.join("\n")).toMatch(/^Training set, as far as it was read: 135 samples of 150 rows, /);
    expect(lines.join("\n")).toMatch(/\d+ longer than max_seq_length: truncated \(\d+ tokens cut off\); rows 5, 6, /);
    expect(lines.join("\n")).toContain("15 without tokens: dropped; rows 3, 13, ");
    lines.length = 0;
    for await (const _ of stream(setting).batches(0, 0)) break;
    expect(lines[0]).toMatch(/^Training set, as far as it was read: \d\d samples of 64 rows/);
  });

  it("without a sample is an error that says what became of its rows", async () => {
    const dataset = new InMemoryDataset([{ input_ids: [] }, { input_ids: [] }]);
    await expect(rowsOf(stream({ dataset, windowSize: 8 }))).rejects.toThrow(
      "The training set (2 rows) makes no batch: 0 samples of 2 rows, 0 tokens, 0 of them trained; 2 without tokens: dropped",
    );
  });
});

const weightsOf = (trainer: SftTrainer<CausalLM>): Map<string, Float32Array> =>
  new Map(Array.from(modelTensors(trainer.model), ([name, tensor]) => [name, tensor.toFloat32Array()]));

describe("a run over a stream", () => {
  const args = { numTrainEpochs: 2, saveStrategy: "no", loggingSteps: 1, trainSamplingStrategy: "sequential" } as const;

  it("in order is the run without one, to the bit", async () => {
    const known = await makeTrainer({ kind: "full", args: { ...args, maxSteps: 12 } });
    await known.train();
    const streamed = await makeTrainer({
      kind: "full",
      args: { ...args, maxSteps: 12, streaming: true, streamingWindow: 7 },
    });
    await streamed.train();
    const losses = ({ state }: SftTrainer<CausalLM>): unknown[] => state.logHistory.map(({ loss }) => loss);
    expect(losses(streamed)).toEqual(losses(known));
    expect(weightsOf(streamed)).toEqual(weightsOf(known));
    expect(streamed.state.epoch).toBeGreaterThan(2);
    expect(streamed.state.epoch).toBeLessThan(3);
  });

  const trainer = async (
    slots: TrainerSlots<CausalLM> | undefined,
    more: TrainingArgumentsInput = {},
  ): Promise<SftTrainer<CausalLM>> =>
    new SftTrainer<CausalLM>({
      model: await makeModel("full"),
      args: { saveStrategy: "no", streaming: true, maxSteps: 2, ...more },
      trainDataset: await loadDataset(fixturePath("curves", "full-llama", "train.jsonl")),
      ...(slots === undefined ? {} : { slots }),
      output: "silent",
    });

  it("needs max_steps", async () => {
    const made = trainer(undefined, { maxSteps: -1 });
    await expect(made).rejects.toThrow(ArgumentError);
    await expect(made).rejects.toThrow("streaming: expected max_steps too");
  });

  it("takes the planner of a plugin", async () => {
    const slots = new TrainerSlots<CausalLM>();
    const windows: number[] = [];
    slots.claim("windowPlanner", "planner", (standard, { lengths }) => {
      expect(lengths).toHaveLength(0);
      return { ...standard, plan: (window) => (windows.push(window.lengths.length), standard.plan(window)) };
    });
    await (await trainer(slots, { streamingWindow: 12, perDeviceTrainBatchSize: 5, maxSteps: 4 })).train();
    expect(windows).toEqual([12, 14]);
  });

  it("refuses the batch sampler of a plugin", async () => {
    const slots = new TrainerSlots<CausalLM>();
    slots.claim("batchSampler", "balancer", (standard) => standard);
    const run = (await trainer(slots)).train();
    await expect(run).rejects.toThrow(TrainingError);
    await expect(run).rejects.toThrow("streaming: balancer replaces the batchSampler, which numbers all samples");
  });
});
