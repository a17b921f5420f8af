import { type DType, Embedding, type Generator, Linear, type Module } from "@fms-accel/tensor";

import { Conv1D } from "../layers/conv1d.ts";
import { closestNames, didYouMean, listNames } from "../messages/did-you-mean.ts";
import type { CausalLM } from "../modeling/causal-lm.ts";
import type { AdapterState } from "./adapter-state.ts";
import { defaultTargetModules } from "./default-target-modules.ts";
import { AdapterConfigError, AdapterError } from "./errors.ts";
import type { LoraConfig } from "./lora-config.ts";
import { LoraEmbedding } from "./lora-embedding.ts";
import { LoraLayer } from "./lora-layer.ts";
import { LoraLinear } from "./lora-linear.ts";
import { checkInitialisation } from "./lora-parameters.ts";
import { findMinimalTargetModules } from "./minimal-target-modules.ts";
import { ModulesToSaveWrapper, type TensorModule } from "./modules-to-save.ts";
import { withinTime } from "./python-regex.ts";
import { compilePatterns, compileTargets, isAllLinear, isModuleToSave } from "./target-matching.ts";

/** PEFT condenses lists of that many target modules, and longer ones. */
const LONG_TARGET_LIST = 20;

/** What an adapter changes in a model, before anything is changed. */
export interface InjectionPlan {
  /** The configuration with target modules that are neither null nor `all-linear`. */
  readonly config: LoraConfig;
  /** Modules that get an adapter, with its rank and alpha. */
  readonly targets: readonly { readonly path: string; readonly r: number; readonly alpha: number }[];
  /** Modules that are trained in full. */
  readonly saved: readonly string[];
  readonly warnings: readonly string[];
}

/** The modules of a model that an adapter can name: those inside an adapted module count as it. */
export function nameableModules(model: Module): Map<string, Module> {
  const modules = new Map<string, Module>();
  const visit = (path: string, module: Module): void => {
    if (path !== "") {
      modules.set(path, module);
    }
    if (module instanceof LoraLayer || module instanceof ModulesToSaveWrapper) {
      return;
    }
    for (const [name, child] of module.namedChildren()) {
      visit(joined(path, name), child);
    }
  };
  visit("", model);
  return modules;
}

/**
 * Finds out what a configuration means for a model.
 * @throws AdapterConfigError when it targets nothing that can be adapted, with the names that are likely meant
 */
export function planInjection(model: CausalLM, given: LoraConfig): InjectionPlan {
  const modules = nameableModules(model);
  if (given.targetParameters !== null && given.targetParameters.length > 0) {
    throw new AdapterConfigError("target_parameters is not implemented: adapt whole modules by target_modules.");
  }
  checkInitialisation(given.initLoraWeights);
  const config = resolveTargets(model, modules, given);
  const match = compileTargets(config);
  const names = [...modules.keys()];
  const matches = withinTime("target_modules", () => new Map(names.map((name) => [name, match(name)])));
  const paths = names.filter((name) => matches.get(name) === "target");
  if (paths.length === 0) {
    throw new AdapterConfigError(describeNoMatch(config, modules, [...matches.values()].includes("excluded")));
  }
  for (const path of paths) {
    const module = modules.get(path);
    if (module === undefined || adaptableLayer(module) === undefined) {
      throw new AdapterConfigError(
        `target_modules: "${path}" is of the kind ${module?.constructor.name}; Linear, Conv1D and Embedding can be adapted.`,
      );
    }
  }
  const { fanInFanOut, warnings: layoutWarnings } = layoutOf(paths, modules, given.fanInFanOut);
  const ranks = compilePatterns(config.rankPattern, "rank_pattern");
  const alphas = compilePatterns(config.alphaPattern, "alpha_pattern");
  const targets = withinTime("rank_pattern and alpha_pattern", () =>
    paths.map((path) => ({
      path,
      r: ranks.find(path) ?? config.r,
      alpha: alphas.find(path) ?? config.loraAlpha,
    })),
  );
  const saved = names.filter((name) => isModuleToSave(name, config.modulesToSave ?? []));
  checkSaved(config.modulesToSave ?? [], names);
  return {
    config: config.with({ fanInFanOut }),
    targets,
    saved,
    warnings: [
      ...given.warnings,
      ...layoutWarnings,
      ...unusedNames(config, paths),
      ...unusedPatterns("rank_pattern", ranks.unused()),
      ...unusedPatterns("alpha_pattern", alphas.unused()),
      ...unusedExclusion(config, matches.values()),
      ...tiedWeightWarning(model, [...paths, ...saved]),
    ],
  };
}

export interface InjectionOptions {
  /** dtype of new A and B; default: float32 where the base layer has less. */
  readonly autocastAdapterDType: boolean;
  readonly generator: Generator | undefined;
}

/** Puts an adapter into a model as planned. Its parameters require gradients, the model's own are left as they are. */
export function inject(
  model: CausalLM,
  adapter: string,
  plan: InjectionPlan,
  state: AdapterState,
  options: InjectionOptions,
): void {
  for (const { path, r, alpha } of plan.targets) {
    const module = model.getSubmodule(path);
    const layer = adaptableLayer(module, state)!;
    if (layer !== module) {
      model.setSubmodule(path, layer);
    }
    const { dtype: baseDType, device } = layer.base_layer.weight;
    const dtype: DType = options.autocastAdapterDType ? "float32" : baseDType;
    layer.addAdapter(adapter, plan.config, r, alpha, { dtype, device, generator: options.generator });
  }
  for (const path of plan.saved) {
    const module = model.getSubmodule(path);
    const wrapper =
      module instanceof ModulesToSaveWrapper ? module : new ModulesToSaveWrapper(module as TensorModule, state);
    if (wrapper !== module) {
      model.setSubmodule(path, wrapper);
    }
    wrapper.addAdapter(adapter, true);
  }
}

const NO_STATE: AdapterState = { active: [], enabled: true, weightsHeld: false };

/** The layer with adapters that stands, or would stand, in the place of a module; undefined where adapters cannot be put. */
export function adaptableLayer(module: Module, state: AdapterState = NO_STATE): LoraLayer | undefined {
  if (module instanceof LoraLayer) {
    return module;
  }
  if (module instanceof Linear || module instanceof Conv1D) {
    return new LoraLinear(module, state);
  }
  return module instanceof Embedding ? new LoraEmbedding(module, state) : undefined;
}

/** Replaces null and `all-linear` by module names. */
function resolveTargets(model: CausalLM, modules: ReadonlyMap<string, Module>, given: LoraConfig): LoraConfig {
  let targets = given.targetModules ?? defaultTargetModules(model.config.modelType);
  if (isAllLinear(targets)) {
    targets = [...modules].filter(([path, module]) => isLinear(module) && !isHead(path)).map(([path]) => path);
  }
  if (typeof targets !== "string" && targets.length >= LONG_TARGET_LIST) {
    const list = targets;
    const others = [...modules.keys()].filter(
      (path) => !list.includes(path) && !list.some((target) => path.endsWith(`.${target}`)),
    );
    const minimal = findMinimalTargetModules(list, others);
    targets = minimal.length < list.length ? minimal : list;
  }
  return given.with({ targetModules: targets });
}

/** The modules themselves decide how their weights are stored. As in PEFT, where there are both kinds the last one's counts. */
function layoutOf(
  paths: readonly string[],
  modules: ReadonlyMap<string, Module>,
  given: boolean,
): { fanInFanOut: boolean; warnings: readonly string[] } {
  const kinds = paths.map((path) => innerLayer(modules.get(path))).filter((module) => !(module instanceof Embedding));
  const layouts = kinds.map((module) => module instanceof Conv1D);
  const fanInFanOut = layouts.at(-1) ?? given;
  const warnings =
    given && !layouts.includes(true) && layouts.length > 0
      ? ["fan_in_fan_out is set, but the weights of the target modules are stored [out, in]: taken as false"]
      : [];
  return { fanInFanOut, warnings };
}

/** The layer itself, or the one that adapters wrap. */
export function innerLayer<T extends Module | undefined>(module: T): Module | T {
  return module instanceof LoraLayer ? module.base_layer : module;
}

function isLinear(module: Module): boolean {
  const inner = innerLayer(module);
  return inner instanceof Linear || inner instanceof Conv1D;
}

/** Output heads are the linear layers that are fields of the language model itself: lm_head, embed_out. */
export function isHead(path: string): boolean {
  return !path.includes(".");
}

function describeNoMatch(config: LoraConfig, modules: ReadonlyMap<string, Module>, excluded: boolean): string {
  const wanted = config.targetModules;
  const found = new Set(
    [...modules].filter(([, module]) => isLinear(module)).map(([path]) => path.slice(path.lastIndexOf(".") + 1)),
  );
  const linear = [...found];
  const near =
    typeof wanted === "string" ? [] : [...new Set((wanted ?? []).flatMap((name) => closestNames(name, linear)))];
  const parts = [
    `target_modules ${JSON.stringify(wanted)} matches no module of the model.`,
    excluded ? "Some are excluded by exclude_modules or modules_to_save." : "",
    typeof wanted === "string" ? "A string is an expression for whole module names, as in Python's re.fullmatch." : "",
    config.layersToTransform === null ? "" : `layers_to_transform is ${JSON.stringify(config.layersToTransform)}.`,
    config.layersPattern === null ? "" : `layers_pattern is ${JSON.stringify(config.layersPattern)}.`,
    near.length === 0 ? "" : `Did you mean ${near.map((name) => `"${name}"`).join(" or ")}?`,
    `Linear layers are named: ${listNames(linear)}; "all-linear" takes all of them but the output head.`,
  ];
  return parts.filter((part) => part !== "").join(" ");
}

function checkSaved(modulesToSave: readonly string[], names: readonly string[]): void {
  for (const wanted of modulesToSave) {
    if (!names.some((name) => isModuleToSave(name, [wanted]))) {
      const last = names.map((name) => name.slice(name.lastIndexOf(".") + 1));
      throw new AdapterError(`modules_to_save: the model has no module "${wanted}".${didYouMean(wanted, last)}`);
    }
  }
}

function unusedNames(config: LoraConfig, paths: readonly string[]): readonly string[] {
  if (typeof config.targetModules === "string" || config.targetModules === null) {
    return [];
  }
  const unused = config.targetModules.filter(
    (wanted) => !paths.some((path) => path === wanted || path.endsWith(`.${wanted}`)),
  );
  return unused.length === 0 ? [] : [`target_modules: nothing is adapted by ${listNames(unused)}`];
}

function unusedPatterns(key: string, unused: readonly string[]): readonly string[] {
  return unused.length === 0 ? [] : [`${key}: no adapted module matches ${listNames(unused)}`];
}

function unusedExclusion(config: LoraConfig, matches: Iterable<string>): readonly string[] {
  const given = config.excludeModules !== null && config.excludeModules.length > 0;
  return given && ![...matches].includes("excluded") ? ["exclude_modules excludes no module"] : [];
}

function tiedWeightWarning(model: CausalLM, changed: readonly string[]): readonly string[] {
  const tied = model.tiedWeights().flat();
  const concerned = changed.filter((path) => tied.includes(`${path}.weight`));
  return concerned.length === 0
    ? []
    : [
        `${listNames(concerned)} shares its weight with another module (tie_word_embeddings); the other one keeps the ` +
          "original weight, and a merged model has two different ones",
      ];
}

function joined(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}
