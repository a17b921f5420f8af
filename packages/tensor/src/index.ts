// ---- Tensors -------------------------------------------------------------------------------------------------------------------
export { Tensor, type TypedArray } from "./tensor.ts";
export {
  arange,
  empty,
  fromBytes,
  full,
  type NestedNumbers,
  ones,
  tensor,
  type TensorOptions,
  zeros,
} from "./create.ts";
export { type DType, isFloating, itemSize } from "./dtype.ts";
export { TensorError } from "./errors.ts";
export { MappedFile, openMappedFile } from "./mapped-file.ts";

// ---- Devices -------------------------------------------------------------------------------------------------------------------
export {
  chooseDevice,
  type CudaDevice,
  type CudaStatus,
  cudaStatus,
  defaultDevice,
  type Device,
  setDefaultDevice,
  synchronize,
} from "./device.ts";
export { to } from "./ops/to.ts";

// ---- Memory and engine ---------------------------------------------------------------------------------------------------------
export { CaptureError, type CaptureOptions, CudaGraph } from "./cuda-graph.ts";
export { dryRun } from "./dry-run.ts";
export { keep, scope } from "./scope.ts";
export {
  adoptTensor,
  engineExternal,
  engineInfo,
  type EngineInfo,
  memoryStats,
  type MemoryStatistics,
  readBandwidth,
  releaseCachedMemory,
  resetPeakMemory,
  setNumThreads,
  workStats,
  type WorkStatistics,
} from "./engine.ts";

export { type OperationProfile, startProfile } from "./profile.ts";

// ---- Gradients -----------------------------------------------------------------------------------------------------------------
export { checkpoint } from "./autograd/checkpoint.ts";
export { isGradEnabled, noGrad } from "./autograd/grad-mode.ts";
export { recordOperation } from "./autograd/tape.ts";

// ---- Random numbers ------------------------------------------------------------------------------------------------------------
export {
  defaultGenerator,
  dropout,
  Generator,
  type GeneratorState,
  manualSeed,
  normal_,
  rand,
  randn,
  type RandomOptions,
  uniform_,
} from "./random.ts";

// ---- Elementwise ---------------------------------------------------------------------------------------------------------------
export {
  abs,
  add,
  cast,
  clamp,
  cos,
  div,
  eq,
  erf,
  exp,
  ge,
  gelu,
  gt,
  le,
  log,
  logicalAnd,
  logicalNot,
  logicalOr,
  lt,
  maximum,
  minimum,
  mul,
  ne,
  neg,
  pow,
  reciprocal,
  relu,
  rsqrt,
  sigmoid,
  silu,
  sin,
  sqrt,
  square,
  sub,
  tanh,
  where,
} from "./ops/elementwise.ts";

// ---- Linear algebra ------------------------------------------------------------------------------------------------------------
export { autocast, autocastDtype } from "./autocast.ts";
export { type AttentionOptions, scaledDotProductAttention } from "./ops/attention.ts";
export {
  addmm,
  type AddmmOptions,
  linear,
  matmul,
  type MatmulTransposes,
  prepackWeight,
  releasePackedWeight,
} from "./ops/matmul.ts";
export { groupedLinear } from "./ops/grouped-linear.ts";
export { lowRankLinear, type LowRankLinearOptions } from "./ops/low-rank-linear.ts";

// ---- Shape ---------------------------------------------------------------------------------------------------------------------
export {
  cat,
  contiguous,
  copyIntoSlice,
  expand,
  permute,
  repeatInterleave,
  reshape,
  select,
  slice,
  split,
  squeeze,
  stack,
  transpose,
  unsqueeze,
} from "./ops/shape.ts";

// ---- Reductions ----------------------------------------------------------------------------------------------------------------
export { amax, amin, argmax, cumsum, type Dims, logsumexp, mean, sum, sumTo } from "./ops/reduce.ts";
export { globalNorm, norm2 } from "./ops/norm.ts";
export { logSoftmax, softmax } from "./ops/softmax.ts";

// ---- Parts of decoders ---------------------------------------------------------------------------------------------------------
export { composedRmsNorm, rmsNorm } from "./ops/rms-norm.ts";
export { composedRotary, rotary } from "./ops/rotary.ts";
export { composedSwiglu, swiglu } from "./ops/swiglu.ts";
export { crossEntropy, crossEntropyInPlace, type CrossEntropyOptions } from "./ops/cross-entropy.ts";

// ---- Indexing ------------------------------------------------------------------------------------------------------------------
export { addWeightedRows, type AddWeightedRowsOptions, composedAddWeightedRows } from "./ops/weighted-rows.ts";
export { groupRows, RowGroups } from "./ops/row-groups.ts";
export { embedding, gather, indexAdd, indexSelect, type Ordered, scatterAdd, sort, topk } from "./ops/indexing.ts";

// ---- Modules -------------------------------------------------------------------------------------------------------------------
export { Dropout } from "./nn/dropout.ts";
export { Embedding, type EmbeddingOptions } from "./nn/embedding.ts";
export { layerNorm, LayerNorm } from "./nn/layer-norm.ts";
export { Linear, type LinearOptions } from "./nn/linear.ts";
export { Module, type ModuleList } from "./nn/module.ts";
export { Parameter } from "./nn/parameter.ts";

// ---- Optimisers ----------------------------------------------------------------------------------------------------------------
export { AdamW, type AdamWOptions, type AdamWState, type ParameterGroup } from "./optim/adamw.ts";
export { clipGradients, clipGradNorm, unscaleGradients } from "./optim/clip-grad-norm.ts";
