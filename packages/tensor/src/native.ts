/**
 * The native addon, typed by hand: the only file that knows its functions. Tensors cross as handles. A function that makes
 * a tensor returns its handle and describes it in `record` (see `Environment::emit` in native/binding/arguments.h).
 */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import type { CudaStatus } from "./device.ts";
import { TensorError } from "./errors.ts";

export type Handle = number;

export interface MemoryStatistics {
  /** Bytes that tensors hold now. */
  liveBytes: number;
  /** The largest `liveBytes` since `resetPeakMemory`. */
  peakBytes: number;
  /** Free bytes that are kept for reuse. */
  cachedBytes: number;
  /** Bytes of a device that captured graphs use when they are replayed, beside those that tensors hold. */
  graphBytes: number;
  /** Tensor handles that JavaScript holds. */
  liveTensors: number;
}

export interface WorkStatistics {
  /** Kernels that were launched. */
  launches: number;
  /** How often the host waited for the device. */
  waits: number;
  /** Matrix products that cuBLASLt was given; the device's own kernels did the others. */
  libraryProducts: number;
  /** Graphs that were replayed; their kernels are not among `launches`. */
  graphLaunches: number;
  bytesToDevice: number;
  bytesToHost: number;
}

export interface NativeEngine {
  // engine.cc
  initialise(record: Float64Array, errorClass: typeof TensorError): void;
  engineInfo(): {
    abiVersion: string;
    isa: string;
    availableIsas: string[];
    threads: number;
    compiler: string;
    buildType: string;
  };
  cudaStatus(): CudaStatus;
  requireDevice(device: number): void;
  synchronize(device: number): void;
  /** For tests: runs a kernel that fails on the device of x, a tensor on a GPU. */
  provokeFault(x: Handle): void;
  setNumThreads(threads: number): void;
  setDryRun(dry: boolean): void;
  readBandwidth(tensors: readonly Handle[]): number;
  engineExternal(): object;
  adoptHandle(handle: Handle): Handle;
  // graph.cc
  beginCapture(device: number, sharesMemoryWith: number, randomState: Handle): number;
  emptyOutsideOfGraphs(shape: readonly number[], dtype: number, device: number): Handle;
  endCapture(device: number): { kernels: number; nodes: number };
  abortCapture(device: number): void;
  launchGraph(device: number, graph: number): void;
  releaseGraph(device: number, graph: number): void;
  // memory.cc
  empty(shape: readonly number[], dtype: number, device: number): Handle;
  fromBytes(bytes: NodeJS.ArrayBufferView, shape: readonly number[], dtype: number, device: number): Handle;
  toDevice(x: Handle, device: number): Handle;
  asStrided(x: Handle, ndim: number, offset: number): Handle; // shape and strides: see the function below
  alias(x: Handle): Handle;
  contiguous(x: Handle): Handle;
  mapFile(path: string, offset: number, bytes: number): Handle;
  viewBytes(file: Handle, byteOffset: number, shape: readonly number[], dtype: number): Handle;
  writeBytes(target: Handle, bytes: NodeJS.ArrayBufferView): void;
  release(x: Handle): void;
  describe(x: Handle): void;
  reportMemory(x: Handle, isOwnedByCollector: boolean): void;
  isExclusive(x: Handle): boolean;
  readBytes(x: Handle): ArrayBuffer;
  memoryStatistics(device: number): MemoryStatistics;
  workStatistics(device: number): WorkStatistics;
  resetPeakMemory(device: number): void;
  releaseCachedMemory(device: number): void;
  // elementwise.cc
  unary(op: number, a: number, b: number, x: Handle): Handle;
  binary(op: number, x: Handle, y: Handle): Handle;
  where(condition: Handle, x: Handle, y: Handle): Handle;
  cast(x: Handle, dtype: number): Handle;
  cat(tensors: readonly Handle[], dim: number): Handle;
  // matmul.cc
  matmul(
    a: Handle,
    b: Handle,
    dtype: number,
    inBFloat16: boolean,
    alpha: number,
    bias: Handle | undefined,
    prepackedB: Handle | undefined,
    tailA?: Handle,
    tailB?: Handle,
  ): Handle;
  linear(
    x: Handle,
    weight: Handle,
    streams: boolean,
    dtype: number,
    inBFloat16: boolean,
    alpha: number,
    bias: Handle | undefined,
    prepacked: Handle | undefined,
  ): Handle;
  groupedLinear(
    x: Handle,
    weights: readonly Handle[],
    counts: readonly number[],
    offsets: Handle | undefined,
    multipliesTransposed: boolean,
    dtype: number,
    inBFloat16: boolean,
  ): Handle;
  groupedWeightGradients(
    gradient: Handle,
    x: Handle,
    counts: readonly number[],
    offsets: Handle | undefined,
    isStacked: boolean,
    wanted: readonly number[],
    dtype: number,
    inBFloat16: boolean,
  ): Handle[];
  // decoder.cc
  rmsNorm(x: Handle, weight: Handle, eps: number): Handle;
  rmsNormGradients(
    x: Handle,
    weight: Handle,
    gradient: Handle,
    eps: number,
    ofX: boolean,
    ofWeight: boolean,
  ): [Handle | undefined, Handle | undefined];
  rotary(x: Handle, cos: Handle, sin: Handle): Handle;
  swiglu(gate: Handle, up: Handle): Handle;
  swigluGradients(gate: Handle, up: Handle, gradient: Handle): [Handle, Handle];
  copyIntoSlice(target: Handle, dim: number, start: number, source: Handle): void;
  releaseMany(handles: Float64Array, count: number): void;
  prepack(b: Handle, inBFloat16: boolean): Handle;
  matmulInto(
    target: Handle,
    a: Handle,
    b: Handle,
    beta: number,
    dtype: number,
    inBFloat16: boolean,
    alpha: number,
    bias: Handle | undefined,
    prepackedB?: Handle,
    tailA?: Handle,
    tailB?: Handle,
  ): void;
  // attention.cc
  attention(
    q: Handle,
    k: Handle,
    v: Handle,
    scale: number,
    softCap: number,
    causal: boolean,
    window: number,
    keyMask: Handle | undefined,
    querySegments: Handle | undefined,
    keySegments: Handle | undefined,
    inBFloat16: boolean,
    dtype: number,
  ): [Handle, Handle];
  attentionGradients(
    q: Handle,
    k: Handle,
    v: Handle,
    out: Handle,
    lse: Handle,
    outGradient: Handle,
    scale: number,
    softCap: number,
    causal: boolean,
    window: number,
    keyMask: Handle | undefined,
    querySegments: Handle | undefined,
    keySegments: Handle | undefined,
    inBFloat16: boolean,
    dtype: number,
  ): [Handle, Handle, Handle];
  addInto(target: Handle, source: Handle): void;
  copyInto(target: Handle, source: Handle): void;
  fill(target: Handle, value: number): void;
  // indexing.cc
  embedding(ids: Handle, weight: Handle): Handle;
  embeddingGradient(gradient: Handle, ids: Handle, rows: number, paddingIndex: number, dtype: number): Handle;
  indexSelect(x: Handle, dim: number, index: Handle): Handle;
  indexAdd(x: Handle, dim: number, index: Handle, source: Handle): Handle;
  addWeightedRows(source: Handle, weights: Handle | undefined, index: Handle, rows: number, dtype: number): Handle;
  weightedRowsGradients(
    gradient: Handle,
    source: Handle,
    weights: Handle,
    index: Handle,
    ofSource: boolean,
    ofWeights: boolean,
  ): [Handle | undefined, Handle | undefined];
  gather(x: Handle, dim: number, index: Handle): Handle;
  scatterAdd(x: Handle, dim: number, index: Handle, source: Handle): Handle;
  groupRows(group: Handle, groups: number): [order: Handle, offsets: Handle];
  topkIndices(x: Handle, dim: number, k: number): Handle;
  sortIndices(x: Handle, dim: number, descending: boolean): Handle;
  // losses.cc
  softmax(x: Handle, dim: number, logarithm: boolean, dtype: number): Handle;
  softmaxGradient(y: Handle, gradient: Handle, dim: number, logarithm: boolean, dtype: number): Handle;
  crossEntropy(
    logits: Handle,
    labels: Handle,
    ignoreIndex: number,
    counts: boolean,
  ): { losses: Handle; logsumexp: Handle; counted: number };
  crossEntropyGradient(
    logits: Handle,
    labels: Handle,
    logsumexp: Handle,
    ignoreIndex: number,
    gradient: Handle,
    scale: number,
  ): Handle;
  crossEntropyInPlace(logits: Handle, labels: Handle, ignoreIndex: number): Handle;
  // optimizer.cc
  globalNorm(tensors: readonly Handle[]): number;
  scaleInPlace(tensors: readonly Handle[], factor: number, asksWhetherFinite: boolean): boolean;
  adamw(
    parameters: readonly Handle[],
    gradients: readonly Handle[],
    expAvgs: readonly Handle[],
    expAvgSqs: readonly Handle[],
    learningRates: readonly number[],
    weightDecays: readonly number[],
    steps: readonly number[],
    beta1: number,
    beta2: number,
    eps: number,
    outcome?: Handle,
    numbers?: Handle,
  ): void;
  clipGradients(gradients: readonly Handle[], maxNorm: number, values: Handle): Handle;
  adamwNumbers(
    learningRates: readonly number[],
    weightDecays: readonly number[],
    steps: readonly number[],
    beta1: number,
    beta2: number,
  ): Handle;
  // random.cc
  uniformInto(target: Handle, low: number, high: number, seed: bigint, offset: bigint): void;
  normalInto(target: Handle, mean: number, deviation: number, seed: bigint, offset: bigint): void;
  dropout(x: Handle, p: number, seed: bigint, offset: bigint): Handle;
  // reduce.cc
  reduce(op: number, x: Handle, dims: readonly number[], keepdim: boolean): Handle;
  argmax(x: Handle, dim: number, keepdim: boolean): Handle;
  logsumexp(x: Handle, dims: readonly number[], keepdim: boolean): Handle;
  cumsum(x: Handle, dim: number, reverse: boolean): Handle;
}

const MAX_DIMS = 8;
/** [handle, dtype, device type, device index, offset, ndim, shape × 8, strides × 8] of the tensor made last. */
export const record: Float64Array = new Float64Array(6 + 2 * MAX_DIMS);
export const RECORD_SHAPE = 6;
export const RECORD_STRIDES: number = 6 + MAX_DIMS;

/** FMS_ACCEL_CUDA_EMULATOR: "1" takes the addon whose cuda device is emulated on the CPU, "checked" the one that also finds races. */
function addonName(): string {
  const emulator = process.env.FMS_ACCEL_CUDA_EMULATOR ?? "";
  if (emulator === "" || emulator === "0") return "fms_accel_tensor.node";
  if (emulator === "1") return "fms_accel_tensor_emulated.node";
  if (emulator === "checked") return "fms_accel_tensor_checked.node";
  throw new TensorError(`FMS_ACCEL_CUDA_EMULATOR=${emulator}: expected 0, 1 or checked`);
}

function load(): NativeEngine {
  const path = fileURLToPath(new URL(`../build/Release/${addonName()}`, import.meta.url));
  if (!existsSync(path)) {
    throw new TensorError(
      `the native engine is not built (${path} is missing): run "npx fms-accel build". ` +
        "It needs g++ (or clang++), make and cmake; on Debian: apt-get install g++ make cmake",
    );
  }
  let engine: NativeEngine;
  try {
    engine = createRequire(import.meta.url)(path) as NativeEngine;
  } catch (error) {
    throw new TensorError(
      `the native engine could not be loaded from ${path}: ${(error as Error).message}. ` +
        'It was built for another platform or Node version: run "npx fms-accel build --force"',
      { cause: error },
    );
  }
  engine.initialise(record, TensorError);
  return engine;
}

export const native: NativeEngine = load();

/**
 * A view of the memory of `x`; strides and offset in elements. Sizes and strides go through the record: passed as arrays, each number
 * would cost a call.
 */
export function asStrided(x: Handle, shape: readonly number[], strides: readonly number[], offset: number): Handle {
  if (shape.length > MAX_DIMS) throw new TensorError(`a view of ${shape.length} dimensions; at most ${MAX_DIMS}`);
  record[0] = 0; // describes no tensor until the call has succeeded
  for (let d = 0; d < shape.length; d++) {
    record[RECORD_SHAPE + d] = shape[d] as number;
    record[RECORD_STRIDES + d] = strides[d] as number;
  }
  return native.asStrided(x, shape.length, offset);
}
