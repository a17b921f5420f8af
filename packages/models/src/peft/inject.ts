import { Embedding, Linear, type Module } from "@fms-accel/tensor";

import { Conv1D } from "../layers/conv1d.ts";
import { closestNames, didYouMean, listNames } from "../messages/did-you-mean.ts";
import type { CausalLM } from "../modeling/causal-lm.ts";
import type { AdapterState } from "./adapter-state.ts";
import { defaultTargetModules, hasDefaultTargetModules } from "./default-target-modules.ts";
import { AdapterConfigError, AdapterError } from "./errors.ts";
import type { LoraConfig } from "./lora-config.ts";
import { LoraEmbedding } from "./lora-embedding.ts";
import { LoraLayer } from "./lora-layer.ts";
import { LoraLinear } from "./lora-linear.ts";
import { LoraParallelExperts } from "./lora-parallel-experts.ts";
import { type AdapterSize, besideWeight, checkInitialisation, type InjectionOptions } from "./lora-parameters.ts";
import { findMinimalTargetModules } from "./minimal-target-modules.ts";
import { ModulesToSaveWrapper, type TensorModule } from "./modules-to-save.ts";
import { findParameterTargets, injectParameter, type ParameterTarget } from "./parameter-targets.ts";
import { withinTime } from "./python-regex.ts";
import { type TiedPaths, tiedPaths, tieWeights } from "./weight-tying.ts";
import { compilePatterns, compileTargets, isAllLinear, isModuleToSave } from "./target-matching.ts";

/** PEFT condenses lists of that many target modules, and longer ones. */
const LONG_TARGET_LIST = 20;

/** What an adapter changes in a model, before anything is changed. */
export interface InjectionPlan {
  /** The configuration with target modules that are not `all-linear`, and null only where parameters alone are targeted. */
  readonly config: LoraConfig;
  /** Modules that get an adapter, with its rank and alpha. */
  readonly targets: readonly (AdapterSize & { readonly path: string })[];
  /** Output heads that get the adapter of the embedding with which they share their weight. */
  readonly tiedTargets: readonly (AdapterSize & TiedPaths)[];
  /** Parameters that get an adapter. */
  readonly parameterTargets: readonly (ParameterTarget & AdapterSize)[];
  /** Modules that are trained in full. */
  readonly saved: readonly string[];
  /** Output heads that are trained in full together with the embedding with which they share their weight. */
  readonly tiedSaved: readonly string[];
  readonly warnings: readonly string[];
}

/** The modules of a model that an adapter can name: those inside an adapted module count as it. */
export function nameableModules(model: Module): Map<string, Module> {
  const modules = new Map<string, Module>();
  const visit = (path: string, module: Module): void => {
    if (path !== "") {
      modules.set(path, module);
    }
    if ([LoraLayer, LoraParallelExperts, ModulesToSaveWrapper].some((kind) => module instanceof kind)) {
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
export function planInjection(model: CausalLM, original: LoraConfig): InjectionPlan {
  const modules = nameableModules(model);
  checkInitialisation(original.initLoraWeights);
  const { config: given, ...tying } = tieWeights(model, original);
  const config = resolveTargets(model, modules, given);
  const parameters = findParameterTargets(model, modules, config);
  const match = config.targetModules === null ? () => "none" as const : compileTargets(config);
  const names = [...modules.keys()];
  const matches = withinTime("target_modules", () => new Map(names.map((name) => [name, match(name)])));
  const heads = tying.targets.map(({ path }) => path);
  const paths = names.filter((name) => matches.get(name) === "target" && !heads.includes(name));
  if (paths.length === 0 && parameters.targets.length === 0) {
    throw new AdapterConfigError(describeNoMatch(config, modules, [...matches.values()].includes("excluded")));
  }
  for (const path of paths) {
    const module = modules.get(path);
    if (module === undefined || adaptableLayer(module) === undefined) {
      throw new AdapterConfigError(
        `target_modules: "${path}" is of the kind ${module?.constructor.name}; Linear, Conv1D and Embedding can be adapted, ` +
          "and experts by target_parameters.",
      );
    }
  }
  checkNotBoth(paths, parameters.targets);
  const { fanInFanOut, warnings: layoutWarnings } = layoutOf(paths, modules, given.fanInFanOut);
  const ranks = compilePatterns(config.rankPattern, "rank_pattern");
  const alphas = compilePatterns(config.alphaPattern, "alpha_pattern");
  const sizeOf = (name: string): { r: number; alpha: number } => ({
    r: ranks.find(name) ?? config.r,
    alpha: alphas.find(name) ?? config.loraAlpha,
  });
  const [targets, parameterTargets] = withinTime("rank_pattern and alpha_pattern", () => [
    paths.map((path) => ({ path, ...sizeOf(path) })),
    parameters.targets.map((target) => ({
      ...target,
      ...sizeOf(`${target.parameter.module}.${target.parameter.name}`),
    })),
  ]);
  const saved = names.filter((name) => isModuleToSave(name, config.modulesToSave ?? []));
  checkSaved(config.modulesToSave ?? [], names);
  checkNotNested(saved);
  return {
    config: config.with({ fanInFanOut }),
    targets,
    tiedTargets: tying.targets.map((tied) => ({ ...tied, ...sizeOf(tied.path), r: sizeOf(tied.embedding).r })),
    parameterTargets,
    saved,
    tiedSaved: tying.saved.map(({ path }) => path),
    warnings: [
      ...given.warnings,
      ...layoutWarnings,
      ...parameters.warnings,
      ...unusedNames(config, paths),
      ...unusedPatterns("rank_pattern", ranks.unused()),
      ...unusedPatterns("alpha_pattern", alphas.unused()),
      ...unusedExclusion(config, matches.values()),
      ...tying.warnings,
      ...(tying.targets.length + tying.saved.length > 0 ? [] : tiedWeightWarning(model, [...paths, ...saved])),
    ],
  };
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
    layer.addAdapter(adapter, plan.config, r, alpha, besideWeight(layer.weight, options));
  }
  for (const { path, embedding, alpha } of plan.tiedTargets) {
    const source = model.getSubmodule(embedding) as LoraEmbedding;
    const module = model.getSubmodule(path);
    const layer = adaptableLayer(module, state) as LoraLinear;
    if (layer !== module) {
      model.setSubmodule(path, layer);
    }
    layer.addTiedAdapter(adapter, plan.config, alpha, source);
  }
  for (const target of plan.parameterTargets) {
    injectParameter(model, adapter, target, plan.config, state, options);
  }
  for (const path of plan.saved) {
    wrapToSave(model, path, state).addAdapter(adapter, true);
  }
  for (const { path, embedding } of tiedPaths(model)) {
    if (plan.tiedSaved.includes(path)) {
      wrapToSave(model, path, state).addTiedAdapter(adapter, model.getSubmodule(embedding) as ModulesToSaveWrapper);
    }
  }
}

/** The wrapper of a module that is trained in full, put in its place unless it stands there. */
function wrapToSave(model: CausalLM, path: string, state: AdapterState): ModulesToSaveWrapper {
  const module = model.getSubmodule(path);
  const wrapper =
    module instanceof ModulesToSaveWrapper ? module : new ModulesToSaveWrapper(module as TensorModule, state);
  if (wrapper !== module) {
    model.setSubmodule(path, wrapper);
  }
  return wrapper;
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
  const { modelType } = model.config;
  const parametersOnly = (given.targetParameters ?? []).length > 0 && !hasDefaultTargetModules(modelType);
  let targets = given.targetModules ?? (parametersOnly ? null : defaultTargetModules(modelType));
  if (isAllLinear(targets)) {
    targets = [...modules].filter(([path, module]) => isLinear(module) && !isHead(path)).map(([path]) => path);
  }
  if (targets !== null && typeof targets !== "string" && targets.length >= LONG_TARGET_LIST) {
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

function checkNotBoth(paths: readonly string[], parameters: readonly ParameterTarget[]): void {
  for (const { parameter } of parameters) {
    const twice = parameter.matrices.flat().find((path) => paths.includes(path));
    if (twice !== undefined) {
      throw new AdapterConfigError(
        `"${twice}" is targeted twice: by target_modules, and as part of ${parameter.module}.${parameter.name} by target_parameters.`,
      );
    }
  }
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

function checkNotNested(saved: readonly string[]): void {
  for (const outer of saved) {
    const inner = saved.find((name) => name.startsWith(`${outer}.`));
    if (inner === undefined) continue;
    throw new AdapterError(
      `modules_to_save: "${outer}" and "${inner}" within it are both meant, but a module is copied once. ` +
        "A name means every module whose path ends with it: name one of the two.",
    );
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
