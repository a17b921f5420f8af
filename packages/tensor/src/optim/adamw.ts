import { isCapturing, memoryForReplays, onReplay } from "../capture-state.ts";
import { zeros } from "../create.ts";
import { TensorError } from "../errors.ts";
import { native } from "../native.ts";
import type { Parameter } from "../nn/parameter.ts";
import { keep } from "../scope.ts";
import { Tensor } from "../tensor.ts";

/** Parameters that share their settings; both numbers may be changed between steps. */
export interface ParameterGroup {
  readonly params: readonly Parameter[];
  /** Default 0.01. */
  weightDecay?: number;
  /** Default: the optimiser's `lr`. */
  lr?: number;
}

export interface AdamWOptions {
  /** Default 1e-3. */
  lr?: number;
  /** Default [0.9, 0.999]. */
  betas?: readonly [number, number];
  /** Default 1e-8. */
  eps?: number;
}

/** What AdamW remembers of one parameter: the steps taken, and float32 moving averages of its shape. */
export interface AdamWState {
  step: number;
  exp_avg: Tensor;
  exp_avg_sq: Tensor;
}

/**
 * Adam with decoupled weight decay (Loshchilov and Hutter, 2019, arXiv:1711.05101), in torch.optim.AdamW's order of operations:
 *
 *     p ← p (1 − lr · weightDecay)
 *     m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²
 *     p ← p − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + eps)
 *
 * Computed in float32 whatever the parameters' dtype. A parameter without a gradient is left alone and its t does not grow.
 */
export class AdamW implements Disposable {
  readonly groups: readonly ParameterGroup[];
  /** The learning rate of groups that have none of their own; set it before a step. */
  lr: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  /** Of all groups, in order: a parameter's place here is its index in the state dict. */
  readonly params: readonly Parameter[];
  readonly #state = new Map<Parameter, AdamWState>();

  /** Throws TensorError for numbers out of range and for a parameter that stands twice. */
  constructor(groups: readonly ParameterGroup[], { lr = 1e-3, betas = [0.9, 0.999], eps = 1e-8 }: AdamWOptions = {}) {
    if (!betas.every((beta) => beta >= 0 && beta < 1))
      throw new TensorError(`AdamW: betas ${betas.join(", ")} are not in [0, 1)`);
    if (!(eps >= 0)) throw new TensorError(`AdamW: eps ${eps} is negative`);
    this.groups = groups;
    this.lr = lr;
    this.betas = betas;
    this.eps = eps;
    this.params = groups.flatMap((group) => group.params);
    if (new Set(this.params).size !== this.params.length)
      throw new TensorError("AdamW: a parameter stands twice in the groups");
  }

  /**
   * Moves every parameter that has a gradient. One native call. Captured in a CUDA graph, rates and counts are those of the time of its
   * replay.
   *
   * @param outcome of `clipGradients`: where the gradient was not finite, nothing is moved, though the count of steps grows
   */
  step(outcome?: Tensor): void {
    const moved = this.groups.flatMap((group) =>
      group.params.flatMap((parameter) => {
        const { grad } = parameter;
        return grad === undefined ? [] : [{ group, parameter, grad, state: this.#stateOf(parameter) }];
      }),
    );
    const numbersOfStep = () =>
      [
        moved.map(({ group }) => group.lr ?? this.lr),
        moved.map(({ group }) => group.weightDecay ?? 0.01),
        moved.map(({ state }) => state.step + 1),
        ...this.betas,
      ] as const;
    const count = (): void => {
      for (const { state } of moved) state.step++;
    };
    const device = moved[0]?.parameter.device;
    const fromDevice =
      isCapturing() && device !== undefined ? keep(memoryForReplays([moved.length, 3], device)) : undefined;
    if (fromDevice !== undefined) {
      const before = (): void => {
        const numbers = new Tensor(native.adamwNumbers(...numbersOfStep()));
        native.writeBytes(fromDevice.handle, numbers.toFloat32Array());
        numbers.dispose();
      };
      onReplay({ before, after: count, end: () => fromDevice.dispose() });
    }
    native.adamw(
      moved.map(({ parameter }) => parameter.handle),
      moved.map(({ grad }) => grad.handle),
      moved.map(({ state }) => state.exp_avg.handle),
      moved.map(({ state }) => state.exp_avg_sq.handle),
      ...numbersOfStep(),
      this.eps,
      outcome?.handle,
      fromDevice?.handle,
    );
    if (fromDevice === undefined) count();
  }

  /** Drops the gradients and their memory. */
  zeroGrad(): void {
    for (const parameter of this.params) {
      parameter.grad?.dispose();
      parameter.grad = undefined;
    }
  }

  /** By parameter index; a parameter that was never moved has none. The tensors are the optimiser's own: they change with every step. */
  stateDict(): Map<number, AdamWState> {
    const entries = this.params.flatMap((parameter, index): [number, AdamWState][] => {
      const state = this.#state.get(parameter);
      return state === undefined ? [] : [[index, { ...state }]];
    });
    return new Map(entries);
  }

  /**
   * Copies a state; parameters that it lacks start anew. All of it is checked first, then it is copied a parameter at a time.
   *
   * @param loaded called when a parameter's state was copied: its tensors are not read again
   * @throws TensorError for an index or a shape that does not fit
   */
  loadStateDict(state: ReadonlyMap<number, AdamWState>, loaded?: (state: AdamWState) => void): void {
    for (const [index, given] of state) {
      const parameter = this.params[index];
      if (parameter === undefined) {
        throw new TensorError(`AdamW: state for parameter ${index}, but there are ${this.params.length} parameters`);
      }
      for (const name of ["exp_avg", "exp_avg_sq"] as const) {
        if (given[name].shape.join() !== parameter.shape.join()) {
          throw new TensorError(
            `AdamW: ${name} of parameter ${index} has shape [${given[name].shape.join(", ")}], expected [${parameter.shape.join(", ")}]`,
          );
        }
      }
      if (!(Number.isInteger(given.step) && given.step >= 0)) {
        throw new TensorError(`AdamW: step ${given.step} of parameter ${index} is no count`);
      }
    }
    this.params.forEach((parameter, index) => {
      const given = state.get(index);
      if (given === undefined) {
        this.#forget(parameter);
        return;
      }
      const own = this.#stateOf(parameter);
      own.step = given.step;
      own.exp_avg.copyFrom(given.exp_avg);
      own.exp_avg_sq.copyFrom(given.exp_avg_sq);
      loaded?.(given);
    });
  }

  /** Frees the state. */
  dispose(): void {
    for (const parameter of this.params) this.#forget(parameter);
  }
  [Symbol.dispose](): void {
    this.dispose();
  }

  #stateOf(parameter: Parameter): AdamWState {
    let state = this.#state.get(parameter);
    if (state === undefined) {
      const options = { device: parameter.device };
      state = {
        step: 0,
        exp_avg: keep(zeros(parameter.shape, options)),
        exp_avg_sq: keep(zeros(parameter.shape, options)),
      };
      this.#state.set(parameter, state);
    }
    return state;
  }

  #forget(parameter: Parameter): void {
    const state = this.#state.get(parameter);
    this.#state.delete(parameter);
    state?.exp_avg.dispose();
    state?.exp_avg_sq.dispose();
  }
}
