import {
  Embedding,
  type Generator,
  LayerNorm,
  Linear,
  type Module,
  noGrad,
  normal_,
  ones,
  type Parameter,
  scope,
  select,
  zeros,
} from "@fms-accel/tensor";

import { ModelsError } from "../errors.ts";
import { Conv1D } from "../layers/conv1d.ts";
import type { CausalLM } from "./causal-lm.ts";

/** A module that knows the initial values of the parameters that it holds itself. */
export interface SelfInitialising extends Module {
  /**
   * @param range deviation of normally distributed weights
   * @param generator where they are drawn from
   */
  initialiseParameters(range: number, generator: Generator): void;
}

/**
 * Hugging Face's initialisation: matrices normal with the model's `initialDeviation`, biases 0, norms 1, the padding row of an
 * embedding 0. The same generator state gives the same weights.
 */
export function initialiseWeights(model: CausalLM, generator: Generator): void {
  noGrad(() => {
    for (const [name, module] of model.namedModules()) {
      scope(() => initialiseModule(name, module, model.initialDeviation(name), generator));
    }
  });
}

function initialiseModule(name: string, module: Module, range: number, generator: Generator): void {
  if (isSelfInitialising(module)) {
    module.initialiseParameters(range, generator);
  } else if (module instanceof Linear || module instanceof Conv1D) {
    fillNormal(module.weight, range, generator);
    fillZeros(module.bias);
  } else if (module instanceof Embedding) {
    fillNormal(module.weight, range, generator);
    if (module.paddingIdx !== undefined) {
      const row = select(module.weight, 0, module.paddingIdx);
      row.copyFrom(zeros(row.shape));
    }
  } else if (module instanceof LayerNorm) {
    fillOnes(module.weight);
    fillZeros(module.bias);
  } else if ([...module.ownParameters()].length > 0) {
    throw new ModelsError(`${name}: ${module.constructor.name} has parameters, but no initialiseParameters().`);
  }
}

/** Fills a weight matrix. */
export function fillNormal(parameter: Parameter, deviation: number, generator: Generator): void {
  normal_(parameter, 0, deviation, generator);
}

function fillZeros(parameter: Parameter | undefined): void {
  parameter?.copyFrom(zeros(parameter.shape));
}

/** Fills a norm's weight. */
export function fillOnes(parameter: Parameter): void {
  parameter.copyFrom(ones(parameter.shape));
}

function isSelfInitialising(module: Module): module is SelfInitialising {
  return "initialiseParameters" in module;
}
