import { AdamW, TensorError, type AdamWState, type Parameter, type Tensor } from "@fms-accel/tensor";
import { TrainingCheckpointError } from "../errors.ts";
import type { Optimizer, OptimizerState } from "./optimizer.ts";
import type { NamedParameterGroup } from "./parameter-groups.ts";

/** torch's names of what AdamW remembers of a parameter. */
const averages = ["exp_avg", "exp_avg_sq"] as const;

/**
 * The engine's AdamW over named parameter groups. Its state is named by parameter (`exp_avg.<name>`, `exp_avg_sq.<name>`, `step.<name>`), so
 * that a checkpoint does not depend on the order of parameters.
 */
export class NamedAdamW implements Optimizer {
  readonly params: readonly Parameter[];
  readonly #names: readonly string[];
  readonly #adamw: AdamW;

  constructor(
    groups: readonly NamedParameterGroup[],
    settings: { readonly betas: readonly [number, number]; readonly eps: number },
  ) {
    this.#names = groups.flatMap(({ names }) => names);
    this.#adamw = new AdamW(
      groups.map(({ params, weightDecay }) => ({ params, weightDecay })),
      settings,
    );
    this.params = this.#adamw.params;
  }

  setLearningRate(learningRate: number): void {
    this.#adamw.lr = learningRate;
  }

  step(outcome?: Tensor): void {
    this.#adamw.step(outcome);
  }

  zeroGrad(): void {
    this.#adamw.zeroGrad();
  }

  state(): OptimizerState {
    const tensors = new Map<string, Tensor>();
    const numbers: Record<string, number> = {};
    for (const [index, state] of this.#adamw.stateDict()) {
      const name = this.#names[index] ?? "";
      for (const average of averages) tensors.set(`${average}.${name}`, state[average]);
      numbers[`step.${name}`] = state.step;
    }
    return { tensors, numbers };
  }

  loadState({ tensors, numbers }: OptimizerState, loaded?: (tensor: Tensor) => void): void {
    const states = new Map<number, AdamWState>();
    const used = new Set<string>();
    for (const [index, name] of this.#names.entries()) {
      const step = numbers[`step.${name}`];
      const expAvg = tensors.get(`exp_avg.${name}`);
      const expAvgSq = tensors.get(`exp_avg_sq.${name}`);
      // A parameter that had no gradient yet has no state.
      if (step === undefined && expAvg === undefined && expAvgSq === undefined) continue;
      if (step === undefined || expAvg === undefined || expAvgSq === undefined) {
        throw new TrainingCheckpointError(`optimizer.safetensors: the state of ${name} is incomplete.`);
      }
      states.set(index, { step, exp_avg: expAvg, exp_avg_sq: expAvgSq });
      for (const average of averages) used.add(`${average}.${name}`);
    }
    const foreign = [...tensors.keys()].filter((name) => !used.has(name));
    if (foreign.length > 0) {
      throw new TrainingCheckpointError(
        `optimizer.safetensors: has the state of parameters that are not trained now: ${foreign.slice(0, 3).join(", ")}${foreign.length > 3 ? ", …" : ""}.`,
      );
    }
    try {
      this.#adamw.loadStateDict(states, (state) => averages.forEach((average) => loaded?.(state[average])));
    } catch (error) {
      if (!(error instanceof TensorError)) throw error;
      throw new TrainingCheckpointError(`optimizer.safetensors: ${error.message}.`, { cause: error });
    }
  }

  dispose(): void {
    this.#adamw.dispose();
  }
}
