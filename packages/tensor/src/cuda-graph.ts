/**
 * Work of a GPU that is recorded once and then launched as a whole: no JavaScript runs and no kernel is launched one by one when it is
 * replayed. Native side: native/cuda/graph.cc.
 */
import { isCapturing, recordingHooks, type ReplayHook } from "./capture-state.ts";
import { tensor } from "./create.ts";
import { defaultDevice, type Device, checkDevice, deviceCode } from "./device.ts";
import { TensorError } from "./errors.ts";
import { native } from "./native.ts";
import { defaultGenerator, type GeneratorState } from "./random.ts";
import { keep, scopeKeeping } from "./scope.ts";
import type { Tensor } from "./tensor.ts";

/** A capture that failed, and why. Nothing of it is left, and nothing was computed. */
export class CaptureError extends TensorError {
  override readonly name: string = "CaptureError";
}

export interface CaptureOptions {
  /** Default: `defaultDevice()`. */
  device?: Device;
  /**
   * A graph to share memory with: what the one has done with, the other may overwrite. Outputs of both last until their graph is replayed
   * or disposed. Neither may be replayed by another thread.
   */
  sharesMemoryWith?: CudaGraph;
}

/**
 * A recorded function. `capture` runs it without computing anything; `replay` computes. As with torch.cuda.CUDAGraph:
 *
 * - what it reads is read where it lay: write new inputs into the same tensors (`x.copyFrom(data)`) before each replay, and keep those
 *   tensors until the graph is disposed;
 * - what it returns is written to the same memory by every replay, and so is the `grad` that it leaves in a leaf;
 * - everything that JavaScript decided is as it was during the capture: shapes, branches, numbers that were passed as arguments, and
 *   values of tensors on the CPU.
 *
 * Numbers that differ from one step to the next are taken care of: draws of the default generator go on as if the function had been
 * called (`dropout` too), and `AdamW.step` takes its rate and step count when the graph is replayed. Reading a value back, waiting for the
 * device and copies to another device cannot be captured.
 */
export class CudaGraph<T = unknown> implements Disposable {
  /** What the function returned; the memory of its tensors is written by `replay`. */
  readonly output: T;
  readonly device: Device;
  /** Kernels, and everything that is done in order: kernels, copies, fills. */
  readonly kernels: number;
  readonly nodes: number;
  readonly #id: number;
  readonly #hooks: readonly ReplayHook[];
  readonly #randomState: Tensor;
  /** Where the generator stood, and how many blocks of random words a replay draws. */
  readonly #start: GeneratorState;
  readonly #draws: bigint;
  readonly #kept: ReadonlySet<Tensor>;
  #isDisposed = false;

  private constructor(parts: {
    output: T;
    device: Device;
    id: number;
    statistics: { kernels: number; nodes: number };
    hooks: readonly ReplayHook[];
    randomState: Tensor;
    start: GeneratorState;
    draws: bigint;
    kept: ReadonlySet<Tensor>;
  }) {
    this.output = parts.output;
    this.device = parts.device;
    this.kernels = parts.statistics.kernels;
    this.nodes = parts.statistics.nodes;
    this.#id = parts.id;
    this.#hooks = parts.hooks;
    this.#randomState = parts.randomState;
    this.#start = parts.start;
    this.#draws = parts.draws;
    this.#kept = parts.kept;
  }

  /**
   * Records what `body` does on the device. Call it once before without capturing, so that what is made on first use is made. `body` is
   * synchronous and runs in a scope; the generator stands afterwards where it stood before.
   *
   * @throws {CaptureError} where something cannot be part of a graph, with the reason; the process can go on without the graph
   */
  static capture<T>(body: () => T, { device = defaultDevice(), sharesMemoryWith }: CaptureOptions = {}): CudaGraph<T> {
    const name = checkDevice(device);
    if (name === "cpu") throw new CaptureError("CudaGraph: only work of a GPU can be captured, found the device cpu");
    if (isCapturing()) throw new CaptureError("CudaGraph: a capture is under way already");
    if (sharesMemoryWith !== undefined && sharesMemoryWith.device !== name) {
      throw new CaptureError(
        `CudaGraph: a graph on ${name} cannot share memory with one on ${sharesMemoryWith.device}`,
      );
    }
    const code = deviceCode(name);
    const start = defaultGenerator.state();
    const randomState = keep(tensor(new BigInt64Array(2), { device: name }));
    const hooks: ReplayHook[] = [];
    let kept: ReadonlySet<Tensor> = new Set();
    let isRecording = false;
    try {
      const id = native.beginCapture(code, sharesMemoryWith?.useId() ?? 0, randomState.handle);
      isRecording = true;
      const recorded = recordingHooks(hooks, () => scopeKeeping(body));
      kept = recorded.kept;
      const { seed, offset } = defaultGenerator.state();
      if (seed !== start.seed) throw new TensorError("the generator was seeded anew during the capture");
      isRecording = false; // endCapture ends it even when it throws
      const statistics = native.endCapture(code);
      const draws = BigInt.asUintN(64, offset - start.offset);
      return new CudaGraph({
        output: recorded.result,
        device: name,
        id,
        statistics,
        hooks,
        randomState,
        start,
        draws,
        kept,
      });
    } catch (error) {
      if (isRecording) native.abortCapture(code);
      for (const made of kept) made.dispose();
      for (const hook of hooks) hook.end?.();
      randomState.dispose();
      throw new CaptureError(`CudaGraph: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    } finally {
      defaultGenerator.setState(start);
    }
  }

  /** Computes what was recorded, from what lies in its inputs now. Returns `output`. Does not wait for the device. */
  replay(): T {
    const id = this.useId();
    for (const hook of this.#hooks) hook.before?.();
    const { seed, offset } = defaultGenerator.state();
    if (this.#draws > 0n) {
      // Offsets were recorded as they were during the capture; what is added wraps around as the counter does.
      const words = BigUint64Array.of(seed, BigInt.asUintN(64, offset - this.#start.offset));
      native.writeBytes(this.#randomState.handle, words);
    }
    native.launchGraph(deviceCode(this.device), id);
    defaultGenerator.setState({ seed, offset: BigInt.asUintN(64, offset + this.#draws) });
    for (const hook of this.#hooks) hook.after?.();
    return this.output;
  }

  /** Frees the graph, its outputs and its memory, unless another graph shares that. Waits for the device. */
  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    for (const made of this.#kept) made.dispose();
    for (const hook of this.#hooks) hook.end?.();
    native.releaseGraph(deviceCode(this.device), this.#id);
    this.#randomState.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal Its number on the native side. */
  useId(): number {
    if (this.#isDisposed) throw new TensorError("CudaGraph: it was disposed");
    return this.#id;
  }
}
