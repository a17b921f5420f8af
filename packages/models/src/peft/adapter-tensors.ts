import { cast, contiguous, type Module, noGrad, type Parameter, scope, type Tensor } from "@fms-accel/tensor";

import type { CausalLM } from "../modeling/causal-lm.ts";
import { AdapterError } from "./errors.ts";
import { adaptableLayer, type InjectionPlan, nameableModules } from "./inject.ts";
import type { LoraBias } from "./lora-config.ts";
import { LoraLayer } from "./lora-layer.ts";
import { LoraLinear } from "./lora-linear.ts";
import { matrixSize, packFactors, type ParameterTarget, unpackFactors } from "./parameter-targets.ts";
import { ModulesToSaveWrapper } from "./modules-to-save.ts";

/** What PEFT puts before the module paths of the model. */
export const PREFIX = "base_model.model.";

/** A tensor of an adapter's file, and where it lies in the model. */
export interface AdapterTensor {
  /** The parameter itself, or a copy where the file has what lies in several parameters. */
  value(): Tensor;
  /** Overwrites it with a stored tensor of the same shape, converted to its dtype. */
  assign(stored: Tensor): void;
}

/**
 * The tensors of an adapter by their names in adapter_model.safetensors: PEFT's layout, which leaves out the adapter's name and the
 * last part of a magnitude's name.
 */
export function adapterTensors(
  model: CausalLM,
  adapter: string,
  bias: LoraBias,
  parameterTargets: readonly ParameterTarget[],
): Map<string, AdapterTensor> {
  const named = new Map<string, AdapterTensor>();
  const set = (name: string, parameter: Parameter | undefined): void => {
    if (parameter !== undefined) {
      named.set(name, { value: () => parameter, assign: (stored) => parameter.copyFrom(stored) });
    }
  };
  const packed = new Set(parameterTargets.flatMap(({ parameter }) => parameter.matrices.flat()));
  for (const [path, module] of nameableModules(model)) {
    if (module instanceof LoraLayer && !packed.has(path)) {
      if (module instanceof LoraLinear && module.isTied(adapter)) {
        named.set(`${PREFIX}${path}.lora_A.weight`, tiedTensor(module, adapter, path, "a"));
        named.set(`${PREFIX}${path}.lora_B.weight`, tiedTensor(module, adapter, path, "b"));
      }
      for (const [name, parameter] of module.namedFactors(adapter)) {
        set(`${PREFIX}${path}.${name}`, parameter);
      }
      set(`${PREFIX}${path}.lora_magnitude_vector`, module.lora_magnitude_vector.get(adapter)?.weight);
    } else if (module instanceof ModulesToSaveWrapper) {
      for (const [name, parameter] of module.adapterParameters(adapter)) {
        set(`${PREFIX}${path}.${name}`, parameter);
      }
    }
  }
  for (const target of parameterTargets) {
    for (const which of ["a", "b"] as const) {
      named.set(`${PREFIX}${target.place}.lora_${which.toUpperCase()}.weight`, {
        value: () => packFactors(model, adapter, target, which),
        assign: (stored) => unpackFactors(model, adapter, target, which, stored),
      });
    }
  }
  for (const { name, module } of biasOwners(model, adapter, bias)) {
    set(`${PREFIX}${name}`, module.bias);
  }
  return named;
}

/** A factor that is an embedding's, transposed: the file has both, the model one. */
function tiedTensor(layer: LoraLinear, adapter: string, path: string, which: "a" | "b"): AdapterTensor {
  const value = (): Tensor => noGrad(() => scope(() => contiguous(layer.factors(adapter)![which])));
  return {
    value,
    assign: (stored) => {
      const same = scope(() => Buffer.compare(cast(stored, value().dtype).toBytes(), value().toBytes()) === 0);
      if (!same) {
        throw new AdapterError(
          `${path}.lora_${which.toUpperCase()}.weight differs from the factor of the embedding, although ensure_weight_tying is set.`,
        );
      }
    },
  };
}

/**
 * Names and shapes of the tensors that an adapter will have, by its plan: what its file must hold. Nothing is allocated for it, so
 * that a file can be checked first.
 */
export function plannedShapes(
  model: CausalLM,
  { config, targets, tiedTargets, parameterTargets, saved, tiedSaved }: InjectionPlan,
): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  const modules = [...targets, ...tiedTargets];
  const adapted = new Set(modules.map(({ path }) => path));
  for (const { path, r } of modules) {
    const layer = adaptableLayer(model.getSubmodule(path))!;
    for (const [name, shape] of layer.factorShapes(r)) {
      shapes.set(`${PREFIX}${path}.${name}`, shape);
    }
    if (config.useDora) {
      shapes.set(`${PREFIX}${path}.lora_magnitude_vector`, [layer.out_features]);
    }
  }
  for (const { parameter, place, r } of parameterTargets) {
    const { experts, inFeatures, outFeatures } = matrixSize(model, parameter);
    shapes.set(`${PREFIX}${place}.lora_A.weight`, [experts * r, inFeatures]);
    shapes.set(`${PREFIX}${place}.lora_B.weight`, [outFeatures, experts * r]);
  }
  const copied = [...saved, ...tiedSaved];
  for (const path of copied) {
    const module = model.getSubmodule(path);
    const original = module instanceof ModulesToSaveWrapper ? module.original_module : module;
    for (const [name, { shape }] of original.namedParameters()) {
      shapes.set(`${PREFIX}${path}.${name}`, shape);
    }
  }
  const biased = config.bias === "none" ? [] : [...nameableModules(model)].filter(([path]) => !copied.includes(path));
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
