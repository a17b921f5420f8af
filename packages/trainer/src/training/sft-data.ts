import {
  BatchPlan,
  collate,
  createSampleReader,
  loadDataset,
  preprocessDataset,
  SequentialSampler,
  shareReading,
  type Dataset,
  type DatasetReport,
  type DataTokenizer,
  type PreprocessOptions,
  type SampleReader,
  type TokenizedDataset,
} from "../data/index.ts";
import { TrainingError } from "../errors.ts";
import type { BatchSampler, Collator, DataLoader, SlotContext, TrainableModel, TrainerSlots } from "../slots.ts";
import { SampleLoader } from "./sample-loader.ts";
import { StreamLoader } from "./stream-loader.ts";
import type { LoaderContext } from "./trainer-options.ts";
import { standardWindowPlanner, trainingSampler } from "./window-planner.ts";

/** Where samples come from and how they become tokens. */
export interface SftDataOptions<Model extends TrainableModel> {
  /** Needed unless the data is pretokenised. */
  readonly tokenizer?: (DataTokenizer & { readonly padTokenId?: number | undefined }) | undefined;
  /** A data set, or the path of a file or folder. */
  readonly trainDataset?: Dataset | string | undefined;
  readonly evalDataset?: Dataset | string | undefined;
  /** Format, templates, and what to do with long, empty and untrainable samples. `max_seq_length` is an argument of the run. */
  readonly data?: Omit<PreprocessOptions, "maxSeqLength"> | undefined;
  /** Parts that plugins replace. */
  readonly slots?: TrainerSlots<Model>;
}

/** The data sets of one trainer, tokenised when they are first asked for. */
export class SftData<Model extends TrainableModel> {
  readonly #options: SftDataOptions<Model>;
  readonly #sets = new Map<"train" | "eval", Promise<TokenizedDataset>>();
  readonly #reports = new Map<"train" | "eval", DatasetReport>();

  constructor(options: SftDataOptions<Model>) {
    this.#options = options;
  }

  /** What became of the rows of a set; `undefined` before it was tokenised. */
  report(set: "train" | "eval"): DatasetReport | undefined {
    return this.#reports.get(set);
  }

  /** Micro-batches for training: shuffled, sequential or grouped by length, dealt to the ranks. */
  async trainLoader(context: LoaderContext): Promise<DataLoader> {
    if (context.args.streaming) return this.#streamLoader(context);
    const samples = await this.tokenized("train", context);
    const { args } = context;
    const plan = new BatchPlan(trainingSampler(args, samples.lengths), {
      batchSize: args.perDeviceTrainBatchSize,
      dropLast: args.dataloaderDropLast,
      position: { rank: context.communicator.rank, worldSize: context.communicator.size },
    });
    if (plan.droppedSamples > 0)
      context.say(`dataloader_drop_last leaves ${plan.droppedSamples} samples out at the end of every epoch.`);
    return this.#loader(samples, plan, context);
  }

  /** Micro-batches of rows that become tokens while training goes on. */
  async #streamLoader(context: LoaderContext): Promise<DataLoader> {
    const { slots, tokenizer, data } = this.#options;
    for (const { slot, owner } of slots?.claims() ?? []) {
      if (slot !== "batchSampler" && slot !== "dataLoader") continue;
      throw new TrainingError(
        `streaming: ${owner} replaces the ${slot}, which numbers all samples, and those of a stream are not known before they are read. ` +
          "Leave streaming out, or the plugin.",
      );
    }
    const dataset = await this.#dataset("train");
    const { args, communicator, say } = context;
    const slotContext = this.#slotContext("train", { lengths: new Int32Array() }, context);
    const collator = this.#collator(slotContext);
    const standard = standardWindowPlanner(args, { rank: communicator.rank, worldSize: communicator.size }, collator);
    const planner = (await slots?.builder("windowPlanner")?.(standard, { ...slotContext, collator })) ?? standard;
    const options = { ...data, maxSeqLength: args.maxSeqLength, limit: planner.limit };
    const windowSize = args.streamingWindow;
    say(
      `Training set: ${dataset.length.toLocaleString("en-US")} rows, which become tokens while training goes on, in windows of ${windowSize.toLocaleString("en-US")} samples.`,
    );
    const openReader = (): SampleReader => createSampleReader(dataset, tokenizer, options);
    return new StreamLoader({
      dataset,
      openReader,
      openSharedReader: () => shareReading(openReader(), dataset.length, communicator),
      planner,
      windowSize,
      say,
    });
  }

  /** Micro-batches for evaluation, in file order; padded, not dealt twice. */
  async evalLoader(context: LoaderContext): Promise<DataLoader> {
    const samples = await this.tokenized("eval", context);
    const plan = new BatchPlan(new SequentialSampler(samples.length), {
      batchSize: context.args.perDeviceEvalBatchSize,
    });
    return new SampleLoader(
      samples,
      everyNth(batchSamplerOf(plan), context.communicator),
      this.#collator(this.#slotContext("eval", samples, context)),
    );
  }

  /** The tokens of a set. */
  tokenized(set: "train" | "eval", context: LoaderContext): Promise<TokenizedDataset> {
    const known = this.#sets.get(set);
    if (known !== undefined) return known;
    const made = this.#tokenize(set, context);
    this.#sets.set(set, made);
    return made;
  }

  async #tokenize(set: "train" | "eval", { args, communicator, say }: LoaderContext): Promise<TokenizedDataset> {
    const { tokenizer, data } = this.#options;
    const dataset = await this.#dataset(set);
    const options = { ...data, maxSeqLength: args.maxSeqLength, communicator };
    const tokenized = await preprocessDataset(dataset, tokenizer, options);
    this.#reports.set(set, tokenized.report);
    const title = set === "train" ? "Training set" : "Evaluation set";
    for (const [index, line] of tokenized.report.lines().entries())
      say(index === 0 ? `${title}: ${line}.` : `  ${line}.`);
    return tokenized;
  }

  async #dataset(set: "train" | "eval"): Promise<Dataset> {
    const source = set === "train" ? this.#options.trainDataset : this.#options.evalDataset;
    return typeof source === "string" || source === undefined ? loadDataset(source ?? "") : source;
  }

  async #loader(samples: TokenizedDataset, plan: BatchPlan, context: LoaderContext): Promise<DataLoader> {
    const { slots } = this.#options;
    const slotContext = this.#slotContext("train", samples, context);
    const standard = batchSamplerOf(plan);
    const batchSampler = (await slots?.builder("batchSampler")?.(standard, slotContext)) ?? standard;
    const collator = this.#collator(slotContext);
    const loader = new SampleLoader(samples, batchSampler, collator);
    const builder = slots?.builder("dataLoader");
    return builder === undefined ? loader : builder(loader, { ...slotContext, samples, batchSampler, collator });
  }

  #collator(context: SlotContext): Collator {
    const standard: Collator = (samples) => collate(samples, { padTokenId: context.padTokenId });
    return this.#options.slots?.builder("collator")?.(standard, context) ?? standard;
  }

  #slotContext(
    set: "train" | "eval",
    { lengths }: Pick<TokenizedDataset, "lengths">,
    context: LoaderContext,
  ): SlotContext {
    return {
      ...context,
      set,
      lengths,
      padTokenId: this.#options.tokenizer?.padTokenId ?? 0,
      longSamples: this.#options.data?.longSamples,
    };
  }
}

/** A plan made for steps of one micro-batch, asked for micro-batches. */
function batchSamplerOf(plan: BatchPlan): BatchSampler {
  const count = plan.microBatchesPerEpoch;
  return {
    batchCount: () => count,
    batch: (epoch, index) => plan.step(epoch * count + index).microBatches[0] ?? [],
    prepareEpoch: (epoch) => plan.prepareEpoch(epoch),
  };
}

/** Every rank takes its share of the batches of an evaluation: sums over ranks then see each sample once. */
function everyNth(
  sampler: BatchSampler,
  { rank, size }: { readonly rank: number; readonly size: number },
): BatchSampler {
  return {
    batchCount: (epoch) => Math.ceil((sampler.batchCount(epoch) - rank) / size),
    batch: (epoch, index) => sampler.batch(epoch, index * size + rank),
  };
}
