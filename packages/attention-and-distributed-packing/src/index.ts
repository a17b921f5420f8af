// ---- Variable-length attention -------------------------------------------------------------------------------------------------
export { variableLengthAttention, type VariableLengthAttentionOptions } from "./ops/variable-length-attention.ts";

// ---- Packing -------------------------------------------------------------------------------------------------------------------
export { bestFit } from "./packing/best-fit.ts";
export { packingForBatch, type EffectiveBatch } from "./packing/effective-batch.ts";
export { planEpoch, type BinMeasure, type EpochPlan, type PlanOptions } from "./packing/epoch-plan.ts";
export { describeLongSamples, FittedSamples, type LongSampleReport } from "./packing/fitted-samples.ts";
export { longestFirst } from "./packing/length-order.ts";
export { MultipackBatchSampler, type MultipackOptions, type PackingStatistics } from "./packing/multipack-sampler.ts";
export { planWindow, type PackedWindow } from "./packing/window-plan.ts";
export { nextFit } from "./packing/next-fit.ts";
export { listAt, listCount, type SampleLists } from "./packing/sample-lists.ts";
export { seededFill } from "./packing/seeded-fill.ts";
export { runAtOnce, runInSlices, type Sliced } from "./packing/sliced.ts";

// ---- Batches -------------------------------------------------------------------------------------------------------------------
export { createMultipackLoader, type MultipackInput, type MultipackSettings } from "./data/create-multipack.ts";
export { MultipackLoader } from "./data/multipack-loader.ts";
export { createMultipackPlanner, type StreamMultipackInput } from "./data/multipack-planner.ts";
export type { BatchLayout } from "./data/batch-layout.ts";
export { collatePackedRows, type PackedRowsOptions } from "./data/packed-rows.ts";
export {
  PackedDataset,
  type PackableItem,
  type PackedDatasetOptions,
  type PackedItem,
  type PaddingTokenizer,
} from "./data/packed-dataset.ts";
export { blockCausalMask, unpadSequences, type UnpaddedSequences } from "./data/segments.ts";

// ---- Padding-free training -----------------------------------------------------------------------------------------------------
export { flattenSamples, type FlattenedBatch, type FlattenOptions } from "./padding-free/flatten-samples.ts";
export { paddingFreeRule } from "./padding-free/padding-free-rule.ts";
export { variableLengthCausalAttention } from "./padding-free/variable-length-causal-attention.ts";

// ---- Seeing it -----------------------------------------------------------------------------------------------------------------
export { attentionPicture } from "./preview/attention-picture.ts";
export {
  drawBatch,
  drawScale,
  letterOf,
  type DrawingColors,
  type DrawingOptions,
  type DrawnSample,
} from "./preview/batch-drawing.ts";
export { comparePacking, type CompareOptions, type PackingLoss } from "./commands/compare-packing.ts";
export { commands } from "./commands/index.ts";

// ---- Plugins -------------------------------------------------------------------------------------------------------------------
export { multipackAccelerationPlugin } from "./data/multipack-plugin.ts";
export { paddingFreeAccelerationPlugin } from "./padding-free/padding-free-plugin.ts";
export { plugins } from "./plugins.ts";
