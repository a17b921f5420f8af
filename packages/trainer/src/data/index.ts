// Reading ---------------------------------------------------------------------------------------------------------------------
export { loadDataset, type LoadDatasetOptions } from "./load-dataset.ts";
export { ConcatenatedDataset, InMemoryDataset, type Dataset } from "./dataset.ts";
export { findDataFiles, type DataFile, type DataFormat } from "./data-files.ts";
export type { Row } from "./row.ts";
export { DatasetError, type DataLocation, type DataProblem } from "./errors.ts";

// Rows to tokens --------------------------------------------------------------------------------------------------------------
export { preprocessDataset, type PreprocessOptions, type TokenizedDataset } from "./preprocess.ts";
export { createSampleReader, type RowSamples, type SampleReader, type SampleReaderOptions } from "./sample-reader.ts";
export { shareReading } from "./shared-reading.ts";
export { longSamplePolicies, type LongSamplePolicy, type SampleLimit } from "./sample-policy.ts";
export {
  detectFormat,
  type AnswerKeys,
  type DetectedFormat,
  type SampleFormat,
  type SampleFormatOptions,
} from "./sample-format.ts";
export { createRowEncoder, type RowEncoder, type RowEncoderOptions } from "./encode-row.ts";
export type { EncodedRow, RowRemark } from "./encode-text.ts";
export { DatasetReport, type ReportCounts, type RowCount, type RowEvent } from "./dataset-report.ts";
export { TokenStore, type Sample } from "./token-store.ts";
export type { ChatMessage, ChatRenderOptions, DataTokenizer, RenderedChat, TextEncoding } from "./tokenizer.ts";

// Text and masks --------------------------------------------------------------------------------------------------------------
export { alpacaPrompt, joinPair } from "./alpaca.ts";
export { TextTemplate, unescapeTemplate } from "./text-template.ts";
export { assistantSpans, type RenderPrefix } from "./chat-spans.ts";
export {
  countTrainable,
  IGNORE_INDEX,
  maskCompletion,
  maskConversation,
  type KeySpan,
  type MaskedLabels,
} from "./masking.ts";

// Batches ---------------------------------------------------------------------------------------------------------------------
export { FixedOrderSampler, LengthGroupedSampler, RandomSampler, SequentialSampler, type Sampler } from "./samplers.ts";
export { permutation, permutationInSlices } from "./permutation.ts";
export { BatchPlan, type BatchPlanOptions, type PlannedStep, type RankPosition } from "./batch-plan.ts";
export { collate, type Batch, type CollatorOptions } from "./collator.ts";
