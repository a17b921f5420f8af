// ---- Training
export { Trainer } from "./training/trainer.ts";
export type {
  LoaderContext,
  LoaderSource,
  ProcessingClass,
  TrainerOptions,
  TrainOptions,
  TrainOutput,
} from "./training/trainer-options.ts";
export { SftTrainer } from "./training/sft-trainer.ts";
export type { SftTrainerOptions } from "./training/sft-trainer.ts";
export type { SftDataOptions } from "./training/sft-data.ts";
export { evaluateLoss } from "./training/evaluate.ts";
export type { BatchEvaluation, EvaluationOptions, EvaluationResult } from "./training/evaluate.ts";
export type { TrainerCallback, TrainerEvent, TrainerEventName } from "./training/callbacks.ts";
export type { LogEntry, TrainerControl, TrainerState } from "./training/state.ts";
export type { StepReport } from "./training/train-step.ts";
export { singleProcess } from "./communicator.ts";
export type { Communicator, CommunicatorBuffer, ReduceOperation } from "./communicator.ts";

// ---- Parts that can be replaced
export { TrainerSlots } from "./slots.ts";
export type {
  Batch,
  BatchShape,
  BatchSampler,
  Collator,
  DataLoader,
  DataLoaderContext,
  LossFunction,
  SampleSource,
  SlotClaim,
  SlotContext,
  StreamPlace,
  StreamWindow,
  TrainableModel,
  TrainerSlotName,
  TrainerSlotTypes,
  WindowPlan,
  WindowPlanner,
  WindowPlannerContext,
} from "./slots.ts";
export { BatchList, batchInputs } from "./training/batch.ts";
export { SampleLoader } from "./training/sample-loader.ts";
export { StreamLoader } from "./training/stream-loader.ts";
export type { StreamOptions } from "./training/stream-loader.ts";
export { windowStream } from "./training/window-planner.ts";
export { modelLoss } from "./training/model-loss.ts";
export { modelDevice } from "./training/precision.ts";

// ---- Data
export {
  alpacaPrompt,
  assistantSpans,
  BatchPlan,
  collate,
  ConcatenatedDataset,
  countTrainable,
  createRowEncoder,
  createSampleReader,
  DatasetError,
  DatasetReport,
  detectFormat,
  findDataFiles,
  FixedOrderSampler,
  IGNORE_INDEX,
  InMemoryDataset,
  joinPair,
  LengthGroupedSampler,
  loadDataset,
  longSamplePolicies,
  maskCompletion,
  maskConversation,
  permutation,
  permutationInSlices,
  preprocessDataset,
  RandomSampler,
  SequentialSampler,
  shareReading,
  TextTemplate,
  TokenStore,
  unescapeTemplate,
} from "./data/index.ts";
export type {
  AnswerKeys,
  BatchPlanOptions,
  ChatMessage,
  ChatRenderOptions,
  CollatorOptions,
  DataFile,
  DataFormat,
  DataLocation,
  DataProblem,
  Dataset,
  DataTokenizer,
  DetectedFormat,
  EncodedRow,
  KeySpan,
  LoadDatasetOptions,
  LongSamplePolicy,
  MaskedLabels,
  PlannedStep,
  PreprocessOptions,
  RankPosition,
  ReportCounts,
  RenderedChat,
  RenderPrefix,
  Row,
  RowCount,
  RowEncoder,
  RowEncoderOptions,
  RowEvent,
  RowRemark,
  RowSamples,
  Sample,
  SampleFormat,
  SampleFormatOptions,
  SampleLimit,
  SampleReader,
  SampleReaderOptions,
  Sampler,
  TextEncoding,
  TokenizedDataset,
} from "./data/index.ts";

// ---- Optimisation
export { countWarmupSteps, createSchedule } from "./schedules.ts";
export type { Schedule, ScheduleOptions, SchedulerType } from "./schedules.ts";
export { LossScaler } from "./optimizer/loss-scaler.ts";
export type { LossScalerOptions, LossScalerState } from "./optimizer/loss-scaler.ts";
export { createParameterGroups, isDecayedName } from "./optimizer/parameter-groups.ts";
export type { NamedParameterGroup } from "./optimizer/parameter-groups.ts";

// ---- Memory
export { measureTrainingMemory } from "./estimate/training-memory.ts";
export type { TrainingMemory, TrainingShape } from "./estimate/training-memory.ts";

// ---- Checkpoints
export { listCheckpoints } from "./checkpoint/find.ts";
export type { CheckpointEntry, CheckpointListing } from "./checkpoint/find.ts";
export { withOutputLock } from "./checkpoint/output-lock.ts";
export { pretrainedFiles } from "./checkpoint/pretrained-files.ts";
export type { ModelFiles } from "./checkpoint/model-files.ts";

// ---- Arguments
export { closestName } from "./arguments/did-you-mean.ts";
export { camelCase, snakeCase } from "./arguments/definition.ts";
export type {
  ArgumentDefinition,
  ArgumentInput,
  ArgumentType,
  ArgumentValues,
  InertArgumentDefinition,
} from "./arguments/definition.ts";
export { loraArgumentTable, promptTuningArgumentTable } from "./arguments/group-tables.ts";
export { argumentTables } from "./arguments/groups.ts";
export type {
  ArgumentGroup,
  DataArguments,
  ModelArguments,
  PeftArguments,
  TrainingArguments,
  TrainingArgumentsInput,
} from "./arguments/groups.ts";
export { parseArgumentValue } from "./arguments/parse-value.ts";
export { inertArgumentTable } from "./arguments/inert-table.ts";
export {
  argumentNames,
  describeIgnoredArguments,
  parseArguments,
  resolveTrainingArguments,
} from "./arguments/parse.ts";
export type { IgnoredArgument, ParsedArguments, RawArgument } from "./arguments/parse.ts";

// ---- Reporting
export { formatDuration, formatNumber } from "./reporting/format.ts";
export type { TerminalOutput } from "./reporting/terminal-output.ts";

// ---- Errors
export { ArgumentError, TrainingCheckpointError, TrainingError } from "./errors.ts";
