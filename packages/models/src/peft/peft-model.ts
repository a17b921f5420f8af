import { join } from "node:path";

import { Generator, type Module, noGrad, type Parameter, scope, type Tensor } from "@fms-accel/tensor";

import { savePretrained } from "../auto/save-pretrained.ts";
import { didYouMean, listNames } from "../messages/did-you-mean.ts";
import type { CausalLM, CausalLMInputs, CausalLMOutput } from "../modeling/causal-lm.ts";
import { AdapterWeights, storedNames, writeAdapter } from "./adapter-files.ts";
import type {
  LoadAdapterOptions,
  NewAdapterOptions,
  SaveAdapterOptions,
  SaveMergedOptions,
} from "./adapter-options.ts";
import { AdapterModel, DEFAULT_ADAPTER, setRequiresGrad } from "./adapter-model.ts";
import { checkAdapterName } from "./adapter-modules.ts";
import type { AdapterState } from "./adapter-state.ts";
import { type AdapterTensor, adapterTensors, biasOwners, plannedShapes } from "./adapter-tensors.ts";
import type { DoraMagnitude } from "./dora.ts";
import { AdapterConfigError, AdapterError } from "./errors.ts";
import { inject, type InjectionPlan, nameableModules, planInjection } from "./inject.ts";
import { LoraConfig } from "./lora-config.ts";
import { LoraLayer } from "./lora-layer.ts";
import { mergedTensors } from "./merged-tensors.ts";
import { ModulesToSaveWrapper } from "./modules-to-save.ts";
import { closeParallelExperts, type ParameterTarget } from "./parameter-targets.ts";
import { ownedParameter } from "./owned-parameter.ts";
import { withStoredHeads } from "./stored-heads.ts";
import { combinedConfig, fillCombination, type WeightedAdapterOptions } from "./weighted-adapter.ts";
import { replaceWeight, targetsVocabulary, untieDifferentWeights, vocabularyWeights } from "./vocabulary-weights.ts";

/**
 * A language model with adapters in it. The base model is changed in place: adapted layers are replaced, and its own parameters are
 * frozen; `mergeAndUnload` or `unload` gives it back.
 */
export class PeftModel<M extends CausalLM = CausalLM> extends AdapterModel<M> {
  readonly #configs: Map<string, LoraConfig>;
  readonly #state: AdapterState;
  /** Which parameters the adapters with `target_parameters` change. */
  readonly #parameterTargets: Map<string, readonly ParameterTarget[]>;
  /** Names of the embeddings and heads that were loaded with an adapter. */
  readonly #vocabulary: Map<string, readonly string[]>;

  /** Use `getPeftModel` or `PeftModel.fromPretrained`. */
  private constructor(model: M) {
    if ([...model.namedModules()].some(([, module]) => module instanceof LoraLayer)) {
      throw new AdapterError("the model has adapters already: add another one with addAdapter or loadAdapter.");
    }
    super(model);
    this.#configs = new Map();
    this.#state = { active: [], enabled: true, weightsHeld: false };
    this.#parameterTargets = new Map();
    this.#vocabulary = new Map();
    this.train(model.training);
  }

  /** A model with one new adapter that is active and trainable. See `getPeftModel`. */
  static create<M extends CausalLM>(model: M, config: LoraConfig, options: NewAdapterOptions = {}): PeftModel<M> {
    const peft = new PeftModel(model);
    peft.addAdapter(config, options);
    peft.setAdapter(options.adapterName ?? DEFAULT_ADAPTER);
    return peft;
  }

  /**
   * Puts a saved adapter into a model and activates it.
   * @param directory with adapter_config.json and adapter_model.safetensors, as PEFT or `savePretrained` writes it
   * @throws AdapterConfigError, AdapterError, SafetensorsError
   */
  static async fromPretrained<M extends CausalLM>(
    model: M,
    directory: string,
    options: LoadAdapterOptions = {},
  ): Promise<PeftModel<M>> {
    const config = LoraConfig.fromPretrained(directory); // before the model is touched
    const peft = new PeftModel(model);
    peft.#load(directory, config, options);
    peft.setAdapter(options.adapterName ?? DEFAULT_ADAPTER);
    return peft;
  }

  /** The configurations of the adapters by name. */
  get peftConfig(): ReadonlyMap<string, LoraConfig> {
    return this.#configs;
  }
  override get adapterNames(): readonly string[] {
    return [...this.#configs.keys()];
  }
  get activeAdapters(): readonly string[] {
    return this.#state.active;
  }
  override forward(inputs: CausalLMInputs): CausalLMOutput {
    this.baseModel.gradientCheckpointing = this.gradientCheckpointing;
    return this.baseModel.forward(inputs);
  }

  /**
   * Adds a further adapter, which is neither active nor trainable until `setAdapter`.
   * @throws AdapterConfigError when the configuration fits nothing in the model
   */
  addAdapter(config: LoraConfig, options: NewAdapterOptions = {}): void {
    const adapter = this.#newName(options.adapterName);
    this.#add(adapter, this.#plan(adapter, config), options);
  }

  #plan(adapter: string, config: LoraConfig): InjectionPlan {
    if (config.bias !== "none" && [...this.#configs.values()].some(({ bias }) => bias !== "none")) {
      throw new AdapterConfigError(
        `adapter "${adapter}": only one adapter of a model can train biases (bias is "${config.bias}").`,
      );
    }
    return planInjection(this.baseModel, config);
  }

  #add(adapter: string, plan: InjectionPlan, options: NewAdapterOptions): void {
    const { config, warnings } = plan;
    const warn = options.onWarning ?? emitWarning;
    inject(this.baseModel, adapter, plan, this.#state, {
      autocastAdapterDType: options.autocastAdapterDType ?? true,
      generator: options.generator,
    });
    for (const { module } of biasOwners(this.baseModel, adapter, config.bias)) {
      module.bias = ownedParameter(module.bias!, false);
    }
    this.#configs.set(adapter, config);
    this.#parameterTargets.set(adapter, plan.parameterTargets);
    this.#setTrainable();
    warnings.forEach((message) => warn(`adapter "${adapter}": ${message}`));
  }

  /** Adds a saved adapter; it is not active until `setAdapter`. */
  async loadAdapter(directory: string, options: LoadAdapterOptions = {}): Promise<void> {
    this.#load(directory, LoraConfig.fromPretrained(directory), options);
  }

  /**
   * Chooses the adapters that are in use; their products are added. They are trainable unless their configuration is in inference
   * mode, all others are not.
   */
  setAdapter(names: string | readonly string[]): void {
    const active = typeof names === "string" ? [names] : names;
    active.forEach((name) => this.#config(name));
    for (const [, wrapper] of this.#wrappers()) {
      const bringing = active.filter((name) => wrapper.has(name));
      if (bringing.length > 1) {
        throw new AdapterError(
          `adapters ${listNames(bringing)} have modules_to_save in common: only one of them can be active.`,
        );
      }
    }
    this.#state.active = [...active];
    this.#setTrainable();
  }

  /**
   * Adds an adapter that is the weighted sum of others. It is not active until `setAdapter`, and is not trained.
   * @throws AdapterConfigError, AdapterError for adapters that cannot be combined
   */
  addWeightedAdapter(names: readonly string[], weights: readonly number[], options: WeightedAdapterOptions): void {
    if (names.length !== weights.length) {
      throw new AdapterError(
        `expected a weight for each adapter: ${names.length} adapters, ${weights.length} weights.`,
      );
    }
    const adapter = this.#newName(options.adapterName);
    const summands = names.map((name, index) => ({ name, weight: weights[index]!, config: this.#config(name) }));
    const layers = this.#layers().filter(([, layer]) => names.some((name) => layer.adapters.includes(name)));
    const paths = layers.map(([path]) => path);
    const combination = options.combinationType ?? "cat";
    const plan = planInjection(this.baseModel, combinedConfig(summands, combination, options.svdRank, paths));
    // The initial values are overwritten.
    this.#add(adapter, { ...plan, warnings: [] }, { generator: new Generator(0) });
    layers.forEach(([path, layer]) => fillCombination(path, layer, adapter, summands, combination));
  }

  /** Removes an adapter. It must not be merged; when it was the active one, none is afterwards. */
  deleteAdapter(name: string): void {
    this.#config(name);
    for (const [path, layer] of this.#layers()) {
      if (layer.mergedAdapters.includes(name)) {
        throw new AdapterError(`adapter "${name}" is merged: call unmergeAdapter before it is deleted.`);
      }
      layer.deleteAdapter(name);
      if (layer.adapters.length === 0) {
        this.baseModel.setSubmodule(path, layer.base_layer);
      }
    }
    for (const [path, wrapper] of this.#wrappers()) {
      wrapper.deleteAdapter(name);
      if (wrapper.isEmpty) {
        this.baseModel.setSubmodule(path, wrapper.original_module);
      }
    }
    closeParallelExperts(this.baseModel);
    this.#configs.delete(name);
    this.#parameterTargets.delete(name);
    this.#vocabulary.delete(name);
    this.#state.active = this.#state.active.filter((active) => active !== name);
  }

  /** Runs `body` as if there were no adapters. Biases that were trained with an adapter stay as they are. */
  disableAdapter<T>(body: () => T): T {
    const before = this.#state.enabled;
    this.#state.enabled = false;
    try {
      return body();
    } finally {
      this.#state.enabled = before;
    }
  }

  /**
   * Promises that no weight changes until the returned function is called. DoRA's row lengths are then computed once instead of in every
   * forward pass; `generate` does this.
   */
  holdWeights(): () => void {
    if (this.#state.weightsHeld) {
      return () => undefined;
    }
    this.#state.weightsHeld = true;
    return () => {
      this.#state.weightsHeld = false;
      for (const [, layer] of this.#layers()) {
        [...layer.lora_magnitude_vector.children()].forEach((magnitude) => (magnitude as DoraMagnitude).forget());
      }
    };
  }

  /** Puts adapters (default: the active ones) into the base weights, in float32 and rounded once; `unmergeAdapter` undoes it exactly. */
  mergeAdapter(names: readonly string[] = this.#state.active): void {
    names.forEach((name) => this.#config(name));
    this.#layers().forEach(([, layer]) => layer.merge(names));
  }

  unmergeAdapter(): void {
    this.#layers().forEach(([, layer]) => layer.unmerge());
  }

  /**
   * Puts adapters (default: the active ones) into the base weights for good. Where that makes two tied weights different, the
   * model's configuration says from then on that they are not tied.
   * @returns the base model, without any adapter
   */
  mergeAndUnload(names: readonly string[] = this.#state.active): M {
    names.forEach((name) => this.#config(name));
    const uses = countUses(this.baseModel);
    const layers = this.#layers();
    for (const [, layer] of layers) {
      const before = layer.base_layer.weight;
      layer.merge(names, false);
      if (before !== layer.base_layer.weight && uses.get(before) === 1) {
        before.dispose(); // at once: a model may not fit twice
      }
    }
    // Layers may share factors: these go when all are merged.
    layers.forEach(([path, layer]) => this.#giveBack(path, layer));
    for (const [path, wrapper] of this.#wrappers()) {
      const adapter = names.find((name) => wrapper.has(name));
      this.baseModel.setSubmodule(path, adapter === undefined ? wrapper.original_module : wrapper.adopt(adapter));
    }
    untieDifferentWeights(this.baseModel);
    this.#forget();
    return this.baseModel;
  }

  /**
   * Saves what `mergeAndUnload` would give, to the bit, without holding it: each weight is merged when its turn to be written comes, and goes
   * with it. The model is used up.
   * @param directory a new one, not the one that the model was opened from
   * @returns the names of the weight files
   */
  saveMerged(directory: string, { maxShardSize, names = this.#state.active }: SaveMergedOptions = {}): string[] {
    names.forEach((name) => this.#config(name));
    const stateDict = mergedTensors(this.baseModel, names);
    return savePretrained(this.baseModel, directory, { maxShardSize, stateDict });
  }

  /** Takes all adapters out. @returns the base model as it was, its parameters frozen */
  override unload(): M {
    this.unmergeAdapter();
    for (const [path, layer] of this.#layers()) {
      this.#giveBack(path, layer);
    }
    for (const [path, wrapper] of this.#wrappers()) {
      this.baseModel.setSubmodule(path, wrapper.original_module);
    }
    this.#forget();
    return this.baseModel;
  }

  /**
   * The tensors of an adapter by their names in adapter_model.safetensors: its parameters, which the model keeps owning, and copies where
   * PEFT stores several in one (`target_parameters`).
   */
  override adapterStateDict(adapter: string = DEFAULT_ADAPTER): Map<string, Tensor> {
    return new Map([...this.#tensors(adapter)].map(([name, tensor]) => [name, tensor.value()]));
  }

  /** Overwrites tensors of an adapter, named as by `adapterStateDict`. @throws AdapterError for a name or a shape that it does not have */
  override setAdapterStateDict(tensors: ReadonlyMap<string, Tensor>, adapter: string = DEFAULT_ADAPTER): void {
    const own = this.#tensors(adapter);
    for (const [name, stored] of tensors) {
      const tensor = own.get(name);
      if (tensor === undefined) {
        throw new AdapterError(`adapter "${adapter}" has no tensor "${name}".${didYouMean(name, [...own.keys()])}`);
      }
      noGrad(() => scope(() => tensor.assign(stored)));
    }
  }

  /**
   * Saves adapters in PEFT's layout: the one named "default" to the directory itself, others to a folder of their name in it.
   */
  override savePretrained(directory: string, { selectedAdapters }: SaveAdapterOptions = {}): void {
    for (const adapter of selectedAdapters ?? this.#configs.keys()) {
      const config = this.#config(adapter).with({ inferenceMode: true });
      const folder = adapter === DEFAULT_ADAPTER ? directory : join(directory, adapter);
      writeAdapter(folder, config, new Map([...this.adapterStateDict(adapter), ...this.#storedVocabulary(adapter)]));
    }
  }

  #load(directory: string, config: LoraConfig, options: LoadAdapterOptions): void {
    const adapter = this.#newName(options.adapterName);
    const inferenceMode = options.isTrainable !== true;
    const known = withStoredHeads(this.baseModel, config, storedNames(directory));
    const plan = this.#plan(adapter, known.with({ initLoraWeights: true, inferenceMode }));
    const adapted = [...plan.targets, ...plan.tiedTargets].map(({ path }) => path);
    const required = plannedShapes(this.baseModel, plan);
    const optional = [...vocabularyWeights(this.baseModel, adapted)].filter(([name]) => !required.has(name));
    const optionalShapes = new Map(optional.map(([name, { shape }]) => [name, shape]));
    using weights = AdapterWeights.open(directory, required, optionalShapes);

    const warn = options.onWarning ?? emitWarning;
    config.warnings.forEach((message) => warn(`adapter "${adapter}": ${message}`));
    // The initial values are overwritten: they take no random numbers from the caller's generator.
    this.#add(adapter, plan, { ...options, generator: new Generator(0) });
    const { targetModules, fanInFanOut } = plan.config;
    this.#configs.set(adapter, config.with({ targetModules, fanInFanOut, inferenceMode }));
    for (const [name, tensor] of this.#tensors(adapter)) {
      weights.read(name, (stored) => tensor.assign(stored));
    }
    this.#vocabulary.set(adapter, weights.optional);
    const changed = weights.optional.filter((name) =>
      replaceWeight(this.baseModel, new Map(optional).get(name)!, (into) =>
        weights.read(name, (stored) => into.copyFrom(stored)),
      ),
    );
    if (changed.length > 0) {
      warn(
        `adapter "${adapter}": brings weights of the base model itself, which replace the model's own: ${listNames(changed)}`,
      );
    }
  }

  /** The weights of embeddings and heads that PEFT stores with an adapter: those that came with it, and adapted ones. */
  #storedVocabulary(adapter: string): [string, Parameter][] {
    const targeted = targetsVocabulary(this.baseModel, this.#config(adapter).targetModules);
    const loaded = this.#vocabulary.get(adapter) ?? [];
    return [...vocabularyWeights(this.baseModel)].filter(
      ([name]) => loaded.includes(name) || (targeted && name.endsWith(".base_layer.weight")),
    );
  }

  #tensors(adapter: string): Map<string, AdapterTensor> {
    const { bias } = this.#config(adapter);
    return adapterTensors(this.baseModel, adapter, bias, this.#parameterTargets.get(adapter) ?? []);
  }

  #newName(name: string = DEFAULT_ADAPTER): string {
    checkAdapterName(name);
    if (this.#configs.has(name)) {
      throw new AdapterError(`the model has an adapter "${name}" already: give another adapterName.`);
    }
    return name;
  }

  #config(name: string): LoraConfig {
    const config = this.#configs.get(name);
    if (config === undefined) {
      const names = [...this.#configs.keys()];
      throw new AdapterError(
        `no adapter "${name}".${didYouMean(name, names)} The model has: ${listNames(names) || "none"}.`,
      );
    }
    return config;
  }

  #layers(): readonly [string, LoraLayer][] {
    return [...this.baseModel.namedModules()].filter(
      (entry): entry is [string, LoraLayer] => entry[1] instanceof LoraLayer,
    );
  }

  #wrappers(): readonly [string, ModulesToSaveWrapper][] {
    return [...nameableModules(this.baseModel)].filter(
      (entry): entry is [string, ModulesToSaveWrapper] => entry[1] instanceof ModulesToSaveWrapper,
    );
  }

  /** Lets exactly the active adapters that are not in inference mode require gradients, and the biases that they train. */
  #setTrainable(): void {
    const trainable = this.#state.active.filter((name) => this.#configs.get(name)?.inferenceMode === false);
    for (const [, layer] of this.#layers()) {
      layer.adapters.forEach((name) => setRequiresGrad(layer.adapterParameters(name), trainable.includes(name)));
    }
    for (const [, wrapper] of this.#wrappers()) {
      for (const name of this.#configs.keys()) {
        const parameters = [...wrapper.adapterParameters(name)].map(([, parameter]) => parameter);
        setRequiresGrad(parameters, trainable.includes(name));
      }
    }
    for (const [name, { bias }] of this.#configs) {
      for (const { module } of biasOwners(this.baseModel, name, bias)) {
        setRequiresGrad([module.bias!], trainable.includes(name));
      }
    }
  }

  #giveBack(path: string, layer: LoraLayer): void {
    layer.adapters.forEach((name) => layer.deleteAdapter(name));
    this.baseModel.setSubmodule(path, layer.base_layer);
  }

  #forget(): void {
    closeParallelExperts(this.baseModel);
    this.#configs.clear();
    this.#parameterTargets.clear();
    this.#state.active = [];
  }
}

/**
 * Puts a new adapter into a model; the model's own parameters are frozen, the adapter's require gradients.
 *
 * @example const adapted = getPeftModel(model, new LoraConfig({ r: 16, loraAlpha: 16, targetModules: "all-linear" }));
 * @throws AdapterConfigError when the configuration fits nothing in the model
 */
export function getPeftModel<M extends CausalLM>(
  model: M,
  config: LoraConfig,
  options: NewAdapterOptions = {},
): PeftModel<M> {
  return PeftModel.create(model, config, options);
}

/** In how many places of a model each tensor is used. */
function countUses(model: Module): Map<Tensor, number> {
  const uses = new Map<Tensor, number>();
  for (const tensor of model.stateDict().values()) {
    uses.set(tensor, (uses.get(tensor) ?? 0) + 1);
  }
  return uses;
}

function emitWarning(message: string): void {
  process.emitWarning(message, "AdapterWarning");
}
