import type { Module, Parameter } from "@fms-accel/tensor";

import type { CausalLM } from "../modeling/causal-lm.ts";
import { adaptableLayer, type InjectionPlan, nameableModules } from "./inject.ts";
import type { LoraBias } from "./lora-config.ts";
import { LoraLayer } from "./lora-layer.ts";
import { ModulesToSaveWrapper } from "./modules-to-save.ts";

/** What PEFT puts before the module paths of the model. */
export const PREFIX = "base_model.model.";

/**
 * The parameters of an adapter by their names in adapter_model.safetensors: PEFT's layout, which leaves out the adapter's name and the
 * last part of a magnitude's name.
 */
export function adapterParameters(model: CausalLM, adapter: string, bias: LoraBias): Map<string, Parameter> {
  const named = new Map<string, Parameter>();
  for (const [path, module] of nameableModules(model)) {
    if (module instanceof LoraLayer) {
      const layer = `${PREFIX}${path}`;
      for (const [name, parameter] of module.namedFactors(adapter)) {
        named.set(`${layer}.${name}`, parameter);
      }
      set(named, `${layer}.lora_magnitude_vector`, module.lora_magnitude_vector.get(adapter)?.weight);
    } else if (module instanceof ModulesToSaveWrapper) {
      for (const [name, parameter] of module.adapterParameters(adapter)) {
        named.set(`${PREFIX}${path}.${name}`, parameter);
      }
    }
  }
  for (const { name, module } of biasOwners(model, adapter, bias)) {
    set(named, `${PREFIX}${name}`, module.bias);
  }
  return named;
}

/**
 * Names and shapes of the tensors that an adapter will have, by its plan: what its file must hold. Nothing is allocated for it, so
 * that a file can be checked first.
 */
export function plannedShapes(
  model: CausalLM,
  { config, targets, saved }: InjectionPlan,
): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  const adapted = new Set(targets.map(({ path }) => path));
  for (const { path, r } of targets) {
    const layer = adaptableLayer(model.getSubmodule(path))!;
    for (const [name, shape] of layer.factorShapes(r)) {
      shapes.set(`${PREFIX}${path}.${name}`, shape);
    }
    if (config.useDora) {
      shapes.set(`${PREFIX}${path}.lora_magnitude_vector`, [layer.out_features]);
    }
  }
  for (const path of saved) {
    const module = model.getSubmodule(path);
    const original = module instanceof ModulesToSaveWrapper ? module.original_module : module;
    for (const [name, { shape }] of original.namedParameters()) {
      shapes.set(`${PREFIX}${path}.${name}`, shape);
    }
  }
  const biased = config.bias === "none" ? [] : [...nameableModules(model)].filter(([path]) => !saved.includes(path));
  for (const [path, module] of biased) {
    const isAdapted = adapted.has(path);
    const bias = biasOf(module);
    if (bias !== undefined && (isAdapted || config.bias === "all")) {
      const place = isAdapted || module instanceof LoraLayer ? `${path}.base_layer` : path;
      shapes.set(`${PREFIX}${place}.bias`, bias.shape);
    }
  }
  return shapes;
}

/** A module with a bias that is trained with the adapter. */
export interface BiasOwner {
  /** The bias's name in the model: adapted modules have it in their base layer. */
  readonly name: string;
  readonly module: { bias: Parameter | undefined };
}

/** The biases that an adapter trains: all of the model, or those of the modules that it adapts. */
export function biasOwners(model: CausalLM, adapter: string, bias: LoraBias): readonly BiasOwner[] {
  if (bias === "none") {
    return [];
  }
  const owners: BiasOwner[] = [];
  for (const [path, module] of nameableModules(model)) {
    if (module instanceof LoraLayer) {
      if (module.bias !== undefined && (bias === "all" || module.adapters.includes(adapter))) {
        owners.push({ name: `${path}.base_layer.bias`, module: module.base_layer as BiasOwner["module"] });
      }
    } else if (bias === "all" && biasOf(module) !== undefined) {
      owners.push({ name: `${path}.bias`, module: module as unknown as { bias: Parameter | undefined } });
    }
  }
  return owners;
}

/** A module's own bias, or that of the layer that an adapter wraps. */
function biasOf(module: Module): Parameter | undefined {
  const owner = module instanceof LoraLayer ? module.base_layer : module;
  return [...owner.ownParameters()].find(([name]) => name === "bias")?.[1];
}

function set(named: Map<string, Parameter>, name: string, parameter: Parameter | undefined): void {
  if (parameter !== undefined) {
    named.set(name, parameter);
  }
}
