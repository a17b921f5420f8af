import type { TrainingArguments } from "../arguments/groups.ts";
import {
  BatchPlan,
  FixedOrderSampler,
  LengthGroupedSampler,
  RandomSampler,
  SequentialSampler,
  type RankPosition,
  type Sampler,
} from "../data/index.ts";
import type { Collator, StreamWindow, WindowPlanner } from "../slots.ts";

/** Which samples of a set come when, by train_sampling_strategy. */
export function trainingSampler(args: TrainingArguments, lengths: Int32Array): Sampler {
  const seed = args.dataSeed ?? args.seed;
  switch (args.trainSamplingStrategy) {
    case "sequential":
      return new SequentialSampler(lengths.length);
    case "group_by_length":
      return new LengthGroupedSampler(lengths, args.perDeviceTrainBatchSize * args.gradientAccumulationSteps, seed);
    default:
      return new RandomSampler(lengths.length, seed);
  }
}

/** A number for the random order of a window: no two windows near each other have the same one. */
export function windowStream({ epoch, index }: Pick<StreamWindow, "epoch" | "index">): number {
  return (index * 65_537 + epoch) % 2 ** 31;
}

/**
 * Batches of equally many samples: those of a window that do not fill a batch on every rank wait for the next window, and those of the last
 * one are dealt as at the end of any epoch.
 */
export function standardWindowPlanner(
  args: TrainingArguments,
  position: RankPosition,
  collator: Collator,
): WindowPlanner {
  const batchSize = args.perDeviceTrainBatchSize;
  return {
    order: args.trainSamplingStrategy,
    plan: async (window) => {
      const { lengths, isLast } = window;
      const round = batchSize * position.worldSize;
      const isFilledUp = isLast && !args.dataloaderDropLast;
      const count = isFilledUp ? Math.ceil(lengths.length / round) : Math.floor(lengths.length / round);
      const order =
        lengths.length === 0 ? new Int32Array() : trainingSampler(args, lengths).order(windowStream(window));
      if (count === 0) return { batches: [], waiting: order };
      const plan = new BatchPlan(new FixedOrderSampler(order, lengths.length), { batchSize, position });
      const batches = Array.from({ length: count }, (_, index) => [plan.batch(0, index)]);
      return { batches, waiting: order.slice(count * round) };
    },
    batch: (rows) => collator(rows.flat()),
  };
}
