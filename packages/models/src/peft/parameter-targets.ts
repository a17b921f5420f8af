/** PEFT's `target_parameters`: adapters of parameters that transformers 5 keeps for all experts of a layer in one. */
import { cat, Linear, type Module, noGrad, reshape, scope, select, slice, stack, type Tensor } from "@fms-accel/tensor";

import type { FusedParameter } from "../architectures/architecture.ts";
import { GraniteMoeParallelExperts } from "../architectures/granitemoe.ts";
import { ARCHITECTURES } from "../architectures/registry.ts";
import { listNames } from "../messages/did-you-mean.ts";
import type { CausalLM } from "../modeling/causal-lm.ts";
import type { AdapterState } from "./adapter-state.ts";
import { AdapterConfigError } from "./errors.ts";
import type { LoraConfig } from "./lora-config.ts";
import { LoraLayer } from "./lora-layer.ts";
import { LoraLinear } from "./lora-linear.ts";
import { type AdapterSize, besideWeight, type InjectionOptions } from "./lora-parameters.ts";
import { LoraParallelExperts } from "./lora-parallel-experts.ts";

/** A parameter that an adapter changes. */
export interface ParameterTarget {
  readonly parameter: FusedParameter;
  /**
   * Where its A and B stand in a file. PEFT wraps a module once for each parameter, in the order in which the module has them; the last one
   * is outermost and has the module's own name, those inside have `.base_layer` behind it.
   */
  readonly place: string;
}

/** Names such as "experts.3" behind parallel experts, which get these modules when they are opened. */
const OPENED = /^(.*)\.experts\.\d+$/;

/** The parameters that a configuration targets, with what is to be warned of. @throws AdapterConfigError */
export function findParameterTargets(
  model: CausalLM,
  modules: ReadonlyMap<string, Module>,
  config: LoraConfig,
): { targets: readonly ParameterTarget[]; warnings: readonly string[] } {
  const wanted = config.targetParameters ?? [];
  if (wanted.length === 0) {
    return { targets: [], warnings: [] };
  }
  const candidates = adaptableParameters(model, modules);
  const found = candidates.filter((candidate) => wanted.some((name) => names(candidate, name)));
  const unmatched = wanted.filter((name) => !found.some((candidate) => names(candidate, name)));
  for (const name of unmatched) {
    refuseOtherParameters(model, name, candidates);
  }
  if (found.length > 0) {
    checkSettings(config);
  }
  const targets = found.map((parameter, index) => {
    const further = found.slice(index + 1).filter(({ module }) => module === parameter.module).length;
    return { parameter, place: `${parameter.module}${".base_layer".repeat(further)}` };
  });
  const warnings =
    unmatched.length === 0
      ? []
      : [`target_parameters: nothing is adapted by ${listNames(unmatched)}. There are ${listEndings(candidates)}`];
  return { targets, warnings };
}

/** Sizes of the matrices `[out, in]` of a parameter. */
export function matrixSize(
  model: CausalLM,
  { matrices }: FusedParameter,
): { experts: number; inFeatures: number; outFeatures: number } {
  const sizes = matrices[0]!.map((path) => layerSize(model, path));
  const outFeatures = sizes.reduce((total, size) => total + size.outFeatures, 0);
  return { experts: matrices.length, inFeatures: sizes[0]!.inFeatures, outFeatures };
}

/** Puts an adapter into the layers of a parameter; those of one matrix share their A. */
export function injectParameter(
  model: CausalLM,
  adapter: string,
  { parameter, r, alpha }: ParameterTarget & AdapterSize,
  config: LoraConfig,
  state: AdapterState,
  options: InjectionOptions,
): void {
  for (const paths of parameter.matrices) {
    const layers = paths.map((path) => openLayer(model, path, state));
    layers.forEach((layer) => layer.addAdapter(adapter, config, r, alpha, besideWeight(layer.weight, options)));
    layers.slice(1).forEach((layer) => layer.shareA(adapter, layers[0]!));
  }
}

/** Gives back parallel experts that have no adapter any more. */
export function closeParallelExperts(model: CausalLM): void {
  const modules = [...model.namedModules()];
  for (const [path, module] of modules) {
    if (module instanceof LoraParallelExperts && !module.experts.some((expert) => expert instanceof LoraLayer)) {
      model.setSubmodule(path, module.close());
    }
  }
}

/**
 * The factors of a parameter as PEFT stores them: A `[experts · r, in]` expert by expert, B `[out, r · experts]` with the expert as the
 * faster index of its columns.
 */
export function packFactors(
  model: CausalLM,
  adapter: string,
  { parameter }: ParameterTarget,
  which: "a" | "b",
): Tensor {
  const matrices = factorsOf(model, adapter, parameter);
  return noGrad(() =>
    scope(() => {
      if (which === "a") {
        return cat(
          matrices.map(({ a }) => a),
          0,
        );
      }
      const parts = stack(
        matrices.map(({ b }) => cat(b, 0)),
        2,
      );
      return reshape(parts, [parts.shape[0]!, -1]);
    }),
  );
}

/** Puts A and B of a file into the layers of a parameter. */
export function unpackFactors(
  model: CausalLM,
  adapter: string,
  { parameter }: ParameterTarget,
  which: "a" | "b",
  stored: Tensor,
): void {
  const matrices = factorsOf(model, adapter, parameter);
  noGrad(() =>
    scope(() => {
      const experts = matrices.length;
      for (const [expert, { a, b }] of matrices.entries()) {
        const r = a.shape[0]!;
        if (which === "a") {
          a.copyFrom(slice(stored, 0, expert * r, (expert + 1) * r));
          continue;
        }
        const own = select(reshape(stored, [-1, r, experts]), 2, expert);
        let row = 0;
        for (const part of b) {
          part.copyFrom(slice(own, 0, row, (row += part.shape[0]!)));
        }
      }
    }),
  );
}

/** A of one matrix, and the parts of B, which lie below each other. */
interface MatrixFactors {
  readonly a: Tensor;
  readonly b: readonly Tensor[];
}

function factorsOf(model: CausalLM, adapter: string, { matrices }: FusedParameter): MatrixFactors[] {
  return matrices.map((paths) => {
    const factors = paths.map((path) => (model.getSubmodule(path) as LoraLinear).factors(adapter)!);
    return { a: factors[0]!.a, b: factors.map(({ b }) => b) };
  });
}

/** What the architecture fuses, and the weights of all other linear layers. */
function adaptableParameters(model: CausalLM, modules: ReadonlyMap<string, Module>): readonly FusedParameter[] {
  const { architecture } = model.config;
  const fused = ARCHITECTURES.find(({ name }) => name === architecture)?.fusedParameters?.(model.config) ?? [];
  const taken = new Set(fused.flatMap(({ matrices }) => matrices.flat()));
  const linear = [...modules].filter(([path, module]) => isLinear(module) && !taken.has(path));
  return [...fused, ...linear.map(([path]) => ({ module: path, name: "weight", matrices: [[path]] }))];
}

function isLinear(module: Module): boolean {
  return module instanceof Linear || (module instanceof LoraLinear && module.base_layer instanceof Linear);
}

function names({ module, name }: FusedParameter, wanted: string): boolean {
  const key = `${module}.${name}`;
  return key === wanted || key.endsWith(`.${wanted}`);
}

function refuseOtherParameters(model: CausalLM, wanted: string, candidates: readonly FusedParameter[]): void {
  const others = [...model.namedParameters()].filter(([name]) => name === wanted || name.endsWith(`.${wanted}`));
  if (others.length > 0) {
    throw new AdapterConfigError(
      `target_parameters: ${others[0]![0]} cannot be adapted. What can: ${listEndings(candidates)}.`,
    );
  }
}

/** `mlp.experts.gate_up_proj` and the like: the parts of a name that are the same in all layers. */
function listEndings(candidates: readonly FusedParameter[]): string {
  const endings = candidates.map(({ module, name }) => `${module}.${name}`.replace(/^.*\.\d+\./, ""));
  return listNames([...new Set(endings)]);
}

/** What PEFT refuses as well: the change is of the weight itself, and never sees the layer's input. */
function checkSettings(config: LoraConfig): void {
  if (config.loraDropout !== 0) {
    throw new AdapterConfigError(
      `target_parameters: lora_dropout must be 0, found ${config.loraDropout}: it cannot be applied to a parameter.`,
    );
  }
  if (config.useDora) {
    throw new AdapterConfigError("target_parameters: use_dora is not possible for parameters. Target modules instead.");
  }
}

function layerSize(model: CausalLM, path: string): { inFeatures: number; outFeatures: number } {
  const stacked = parallelExperts(model, path);
  if (stacked !== undefined) {
    return { outFeatures: stacked.weight.shape[1]!, inFeatures: stacked.weight.shape[2]! };
  }
  const { in_features: inFeatures, out_features: outFeatures } = model.getSubmodule(path) as Linear | LoraLinear;
  return { inFeatures, outFeatures };
}

/** The parallel experts that a path leads into, as long as they are not opened. */
function parallelExperts(model: CausalLM, path: string): GraniteMoeParallelExperts | undefined {
  const owner = OPENED.exec(path)?.[1];
  const module = owner === undefined ? undefined : model.getSubmodule(owner);
  return module instanceof GraniteMoeParallelExperts ? module : undefined;
}

function openLayer(model: CausalLM, path: string, state: AdapterState): LoraLinear {
  const stacked = parallelExperts(model, path);
  if (stacked !== undefined) {
    model.setSubmodule(OPENED.exec(path)![1]!, new LoraParallelExperts(stacked));
  }
  const module = model.getSubmodule(path);
  const layer = module instanceof LoraLinear ? module : new LoraLinear(module as Linear, state);
  if (layer !== module) {
    model.setSubmodule(path, layer);
  }
  return layer;
}
