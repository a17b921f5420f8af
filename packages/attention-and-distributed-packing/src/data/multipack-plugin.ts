import { definePlugin, type AccelerationPlugin, type SlotReplacement } from "@fms-accel/framework";
import { longSamplePolicies, type LongSamplePolicy, type SlotContext } from "@fms-accel/trainer";
import { z } from "zod";
import { createMultipackLoader } from "./create-multipack.ts";
import { createMultipackPlanner } from "./multipack-planner.ts";

const PATH = "training.dataloader.multipack";

const multipackSchema = z.strictObject({
  num_processes: z
    .int()
    .min(1)
    .optional()
    .describe("Processes that measure samples in the original. Here lengths are known from tokenisation: no effect."),
  capacity: z
    .int()
    .min(1)
    .optional()
    .describe(
      "Tokens of a micro-batch on one rank. Default: per_device_train_batch_size × mean length of the samples.",
    ),
  long_samples: z
    .enum(longSamplePolicies)
    .optional()
    .describe(
      "A sample longer than a batch or row: error, truncate, split or drop. Default: --long_samples, else error.",
    ),
  rows: z
    .int()
    .min(1)
    .optional()
    .describe(
      "Rows of a micro-batch that each hold several samples, without padding_free; attention keeps them apart.",
    ),
});

/** Packs samples into batches of nearly equal token counts, with or without padding-free attention, on any number of ranks. */
export const multipackAccelerationPlugin: AccelerationPlugin = definePlugin({
  name: "MultipackDataloaderAccelerationPlugin",
  description: "Samples packed into batches and ranks of nearly equal token counts",
  paths: { allOf: [PATH] },
  schemas: { [PATH]: multipackSchema },
  options: [
    {
      name: "multipack",
      path: PATH,
      values: [{ name: "num_processes", type: "integer", default: null, minimum: 1, help: "Has no effect here." }],
      help: "pack samples into batches of nearly equal token counts",
      standsAlone: true,
    },
    {
      name: "packing_capacity",
      path: PATH,
      values: [{ name: "capacity", type: "integer", default: null, minimum: 1, help: "Tokens." }],
      help: "tokens of a packed micro-batch on one rank; default: batch size × mean length",
    },
    {
      name: "packing_rows",
      path: PATH,
      values: [{ name: "rows", type: "integer", default: null, minimum: 1, help: "Rows." }],
      help: "rows of a packed micro-batch that each hold several samples, without padding_free",
    },
  ],

  activate(configuration, context) {
    const { capacity, rows, long_samples: ownPolicy } = configuration[PATH];
    const isPaddingFree = context.isConfigured("training.attention.padding_free");
    const settings = (longSamples: LongSamplePolicy | undefined) => ({
      capacity,
      rows,
      longSamples: ownPolicy ?? longSamples ?? ("error" as const),
    });
    const placeOf = ({ args, communicator }: Pick<SlotContext, "args" | "communicator">) => ({
      isPaddingFree,
      position: { rank: communicator.rank, worldSize: communicator.size },
      seed: args.dataSeed ?? args.seed,
    });
    const dataLoader: SlotReplacement<"dataLoader"> = {
      id: "multipack",
      build: (_standard, { batchSampler, ...context }) =>
        createMultipackLoader(
          {
            ...context,
            ...placeOf(context),
            unpacked: batchSampler,
            batchSize: context.args.perDeviceTrainBatchSize,
          },
          settings(context.longSamples),
        ),
    };
    const windowPlanner: SlotReplacement<"windowPlanner"> = {
      id: "multipack",
      build: (_standard, context) =>
        createMultipackPlanner({ ...context, ...placeOf(context) }, settings(context.longSamples)),
    };
    return {
      augment: ({ args }) => ({ slots: args.streaming ? { windowPlanner } : { dataLoader } }),
    };
  },
});
