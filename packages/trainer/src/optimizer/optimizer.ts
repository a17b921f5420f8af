import type { Parameter, Tensor } from "@fms-accel/tensor";

/** What the training loop asks of an optimiser. */
export interface Optimizer {
  readonly params: readonly Parameter[];
  /** Used by the following steps, for every group. */
  setLearningRate(learningRate: number): void;
  /** @param outcome of `clipGradients`: on the device, whether the gradient is finite. Where it is not, the weights stay as they are. */
  step(outcome?: Tensor): void;
  /** Drops the gradients. */
  zeroGrad(): void;
  /** Its state as named tensors that are still the optimiser's own, and plain numbers. */
  state(): OptimizerState;
  /**
   * @param loaded may be called with tensors of the state that were copied and are not read again
   * @throws TrainingCheckpointError when the state is not of this optimiser's parameters
   */
  loadState(state: OptimizerState, loaded?: (tensor: Tensor) => void): void;
  /** Frees its state. */
  dispose(): void;
}

export interface OptimizerState {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly numbers: Readonly<Record<string, number>>;
}
