import { Module, type Parameter, type Tensor } from "@fms-accel/tensor";

import { CausalLM, type TiedWeight } from "../modeling/causal-lm.ts";

/** The adapter's name when the caller gives none; its files are saved to the top of the directory. */
export const DEFAULT_ADAPTER = "default";

/** The place between a model with adapters and its base model, so that parameters are named as in PEFT: `base_model.model.…`. */
class AdaptedModel<M extends CausalLM> extends Module {
  readonly model: M;

  constructor(model: M) {
    super();
    this.model = model;
  }
}

/** A language model whose own parameters are frozen, with something small that is trained instead and saved alone. */
export abstract class AdapterModel<M extends CausalLM = CausalLM> extends CausalLM<M["config"]> {
  readonly base_model: AdaptedModel<M>;

  constructor(model: M) {
    super(model.config);
    this.base_model = new AdaptedModel(model);
    this.generationConfig = model.generationConfig;
    this.gradientCheckpointing = model.gradientCheckpointing;
    model.requiresGrad_(false);
  }

  /** Names of the adapters, in the order of their addition. */
  abstract get adapterNames(): readonly string[];
  /** The tensors of an adapter by their names in adapter_model.safetensors. */
  abstract adapterStateDict(adapter?: string): Map<string, Tensor>;
  /** Overwrites tensors of an adapter, named as by `adapterStateDict`. @throws AdapterError for a name that it does not have */
  abstract setAdapterStateDict(tensors: ReadonlyMap<string, Tensor>, adapter?: string): void;
  /** Saves the adapters in PEFT's layout. */
  abstract savePretrained(directory: string): void;
  /** Takes all adapters out. @returns the base model as it was, its parameters frozen */
  abstract unload(): M;

  /** The model that the adapters are in. */
  get baseModel(): M {
    return this.base_model.model;
  }

  override tiedWeights(): readonly TiedWeight[] {
    return this.baseModel.tiedWeights();
  }

  override equivalentLength(length: number): number {
    return this.baseModel.equivalentLength(length);
  }

  /** How many numbers are trained, and how many there are in all. */
  countParameters(): { trainable: number; total: number } {
    let trainable = 0;
    let total = 0;
    for (const parameter of this.parameters()) {
      total += parameter.numel;
      trainable += parameter.requiresGrad ? parameter.numel : 0;
    }
    return { trainable, total };
  }
}

/** Lets parameters require gradients, or not. */
export function setRequiresGrad(parameters: Iterable<Parameter>, gradients: boolean): void {
  for (const parameter of parameters) {
    parameter.requiresGrad = gradients;
  }
}
