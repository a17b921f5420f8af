import type { CausalLMInputs } from "@fms-accel/models";
import { CaptureError, CudaGraph, empty, type Device, type Tensor } from "@fms-accel/tensor";
import type { Batch } from "../slots.ts";
import { GraphInputs, planBatch } from "./graph-inputs.ts";

export interface StepGraphOptions {
  readonly device: Device;
  /** Graphs at most; steps of further shapes run without. */
  readonly limit: number;
  /** Computes a step of these micro-batches and returns what it found, float32 `[n]`. */
  readonly compute: (inputs: readonly CausalLMInputs[]) => Tensor;
  /** The model's, or that every length counts. */
  readonly equivalentLength: (length: number) => number;
  /** Called when a capture has failed: what the recording has left behind is to go. */
  readonly undo: () => void;
  readonly say: (line: string) => void;
}

interface CapturedStep {
  readonly graph: CudaGraph<Tensor>;
  readonly inputs: readonly GraphInputs[];
  readonly numItemsInBatch: Tensor;
}

/** Attempts after which nothing more is captured: the model cannot be. */
const ATTEMPTS = 3;

/**
 * Whole steps as CUDA graphs, one for each combination of shapes of micro-batches. The first step of a combination runs without, the second
 * is captured; all graphs share their memory.
 */
export class StepGraphs {
  readonly #options: StepGraphOptions;
  readonly #graphs = new Map<string, CapturedStep>();
  readonly #seen = new Set<string>();
  readonly #refused = new Set<string>();
  readonly #reasons = new Set<string>();
  readonly #counts = { replayed: 0, first: 0, overLimit: 0, refused: 0 };

  constructor(options: StepGraphOptions) {
    this.#options = options;
  }

  /**
   * Runs a step of micro-batches that have trainable tokens.
   *
   * @returns what `compute` returned, the caller's; undefined where the step must run without a graph
   */
  run(batches: readonly Batch[], trainableTokens: number): Tensor | undefined {
    const plans = batches.map((batch) => planBatch(batch, this.#options.equivalentLength));
    const key = plans.map((plan) => plan.key).join(", ");
    let step = this.#graphs.get(key);
    if (step === undefined) {
      if (!this.#mayCapture(key)) return undefined;
      step = this.#capture(key, plans, trainableTokens);
      if (step === undefined) return undefined;
    } else {
      for (const [index, plan] of plans.entries()) step.inputs[index]?.write(plan);
      step.numItemsInBatch.copyFrom(Float32Array.of(trainableTokens));
    }
    this.#counts.replayed++;
    const output = step.graph.replay();
    const values = empty(output.shape, { device: output.device });
    values.copyFrom(output);
    return values;
  }

  /** Counts a step that was not given to `run`, and says why when it is the first of its kind. */
  refuse(reason: string): void {
    this.#counts.refused++;
    if (this.#reasons.has(reason)) return;
    this.#reasons.add(reason);
    this.#options.say(`cuda_graphs: steps run without a graph: ${reason}.`);
  }

  /** How many steps were replayed, and why the others were not. */
  summary(): string {
    const { replayed, first, overLimit, refused } = this.#counts;
    const kernels = [...this.#graphs.values()].reduce((sum, { graph }) => sum + graph.kernels, 0);
    const parts = [
      `${this.#graphs.size} captured (${kernels} kernels), ${replayed} of ${replayed + first + overLimit + refused} steps replayed`,
      ...(first > 0 ? [`${first} ran without as the first of their shapes`] : []),
      ...(overLimit > 0 ? [`${overLimit} because there were ${this.#options.limit} graphs (max_cuda_graphs)`] : []),
      ...(refused > 0 ? [`${refused} because they could not be captured`] : []),
    ];
    return `CUDA graphs: ${parts.join(", ")}.`;
  }

  dispose(): void {
    for (const step of this.#graphs.values()) {
      step.graph.dispose();
      for (const inputs of step.inputs) inputs.dispose();
      step.numItemsInBatch.dispose();
    }
    this.#graphs.clear();
  }

  #mayCapture(key: string): boolean {
    if (this.#refused.has(key) || this.#refused.size >= ATTEMPTS) {
      this.#counts.refused++;
      return false;
    }
    if (!this.#seen.has(key)) {
      this.#seen.add(key);
      this.#counts.first++;
      return false;
    }
    if (this.#graphs.size < this.#options.limit) return true;
    this.#counts.overLimit++;
    return false;
  }

  #capture(
    key: string,
    plans: readonly ReturnType<typeof planBatch>[],
    trainableTokens: number,
  ): CapturedStep | undefined {
    const { device, compute, undo } = this.#options;
    const numItemsInBatch = empty([], { device });
    numItemsInBatch.copyFrom(Float32Array.of(trainableTokens));
    const inputs = plans.map((plan) => new GraphInputs(plan, device, numItemsInBatch));
    const [earlier] = this.#graphs.values();
    try {
      const graph = CudaGraph.capture(() => compute(inputs.map((own) => own.inputs)), {
        device,
        ...(earlier && { sharesMemoryWith: earlier.graph }),
      });
      const step = { graph, inputs, numItemsInBatch };
      this.#graphs.set(key, step);
      return step;
    } catch (error) {
      if (!(error instanceof CaptureError)) throw error;
      undo();
      for (const own of inputs) own.dispose();
      numItemsInBatch.dispose();
      this.#refused.add(key);
      this.refuse(error.message);
      return undefined;
    }
  }
}
