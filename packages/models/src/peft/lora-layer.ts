import {
  add,
  cast,
  dropout,
  Module,
  mul,
  noGrad,
  Parameter,
  scope,
  sub,
  type Tensor,
  transpose,
} from "@fms-accel/tensor";

import type { LowRankChange } from "../layers/experts.ts";
import { AdapterModules } from "./adapter-modules.ts";
import type { AdapterState } from "./adapter-state.ts";
import { DoraMagnitude, rowNorms } from "./dora.ts";
import type { LoraConfig } from "./lora-config.ts";
import { loraSettings, type LoraSettings, type LoraWeightOptions } from "./lora-parameters.ts";
import { mergedWeight, type WeightChange } from "./merge-weights.ts";
import { takenParameter } from "./owned-parameter.ts";

/** A layer with one matrix, which an adapter changes. */
export interface WeightedModule extends Module {
  weight: Parameter;
  forward(x: Tensor): Tensor;
}

/** The low-rank factors of one adapter of one layer. */
export interface LoraFactors {
  /** `[r, in]` */
  readonly a: Tensor;
  /** `[out, r]` */
  readonly b: Tensor;
}

/** One adapter of one layer. */
interface Adapter extends LoraFactors {
  readonly magnitude: DoraMagnitude | undefined;
  readonly settings: LoraSettings;
}

/** The base weight from before a merge, and what was merged since. */
interface Merged {
  readonly original: Parameter;
  readonly adapters: readonly string[];
}

/**
 * A layer with low-rank adapters (Hu et al., 2021, arXiv:2106.09685): its weight W acts as W + scaling · B · A for each active one. It stands
 * in the place of its base layer, whose weight stays frozen; fields are named as in PEFT.
 */
export abstract class LoraLayer<B extends WeightedModule = WeightedModule> extends Module {
  base_layer: B;
  readonly lora_magnitude_vector: AdapterModules<DoraMagnitude>;
  /** Whether the weight is stored `[in, out]` (Conv1D, Embedding); adapters are `A [r, in]` and `B [out, r]` all the same. */
  readonly isTransposed: boolean;
  readonly #settings: Map<string, LoraSettings>;
  readonly #state: AdapterState;
  #merged: Merged | undefined;

  constructor(base: B, state: AdapterState, isTransposed: boolean) {
    super();
    this.base_layer = base;
    this.lora_magnitude_vector = new AdapterModules();
    this.isTransposed = isTransposed;
    this.#settings = new Map();
    this.#state = state;
    this.#merged = undefined;
  }

  /** Input and output features, as A and B count them. */
  abstract get in_features(): number;
  abstract get out_features(): number;
  /** A and B of an adapter; undefined when the layer does not have it. */
  abstract factors(adapter: string): LoraFactors | undefined;
  /** A and B of an adapter by their names in adapter_model.safetensors. */
  abstract namedFactors(adapter: string): Iterable<[string, Parameter]>;
  /** Names and shapes of what `namedFactors` gives for an adapter of rank `r`. */
  abstract factorShapes(r: number): Iterable<[string, readonly number[]]>;
  protected abstract createFactors(adapter: string, config: LoraConfig, r: number, options: LoraWeightOptions): void;
  protected abstract deleteFactors(adapter: string): void;
  /** What the base layer does to `x` with `weight`, its bias included. */
  protected abstract baseForward(x: Tensor, weight: Parameter): Tensor;
  /** The same without the bias. */
  protected abstract product(x: Tensor, weight: Parameter): Tensor;
  /** result + scaling · B·A·x, written over `result`. */
  protected abstract addProduct(result: Tensor, x: Tensor, factors: LoraFactors, scaling: number): Tensor;

  /** What the base layer does to `x`, plus scaling · B·A·dropped. */
  protected adaptedForward(x: Tensor, dropped: Tensor, factors: LoraFactors, scaling: number): Tensor {
    return this.addProduct(this.baseForward(x, this.base_layer.weight), dropped, factors, scaling);
  }

  /** The base layer's weight, with what is merged into it. */
  get weight(): Parameter {
    return this.base_layer.weight;
  }
  get bias(): Parameter | undefined {
    return undefined;
  }
  /** Names of the adapters of this layer, in the order of their addition. */
  get adapters(): readonly string[] {
    return [...this.#settings.keys()];
  }
  get mergedAdapters(): readonly string[] {
    return this.#merged?.adapters ?? [];
  }
  settings(adapter: string): LoraSettings | undefined {
    return this.#settings.get(adapter);
  }

  /** Adds an adapter of rank `r`, with weights as the configuration initialises them. */
  addAdapter(adapter: string, config: LoraConfig, r: number, alpha: number, options: LoraWeightOptions): void {
    this.createFactors(adapter, config, r, options);
    this.register(adapter, config, r, alpha);
  }

  /** Takes up an adapter whose factors are there. */
  protected register(adapter: string, config: LoraConfig, r: number, alpha: number): void {
    const settings = loraSettings(config, r, alpha);
    this.#settings.set(adapter, settings);
    if (config.useDora) {
      const { a, b } = this.factors(adapter)!;
      const magnitude = scope(() => rowNorms(this.#asRows(this.#frozenWeight()), a, b, settings.scaling));
      this.lora_magnitude_vector.set(adapter, new DoraMagnitude(magnitude));
    }
    this.train(this.training);
  }

  /** Removes an adapter and frees its weights. It must not be merged. */
  deleteAdapter(adapter: string): void {
    this.deleteFactors(adapter);
    this.lora_magnitude_vector.get(adapter)?.dispose();
    this.lora_magnitude_vector.delete(adapter);
    this.#settings.delete(adapter);
  }

  /** The parameters of one adapter: A, B and, with DoRA, the magnitude. */
  *adapterParameters(adapter: string): Iterable<Parameter> {
    for (const [, parameter] of this.namedFactors(adapter)) {
      yield parameter;
    }
    yield* this.lora_magnitude_vector.get(adapter)?.parameters() ?? [];
  }

  forward(x: Tensor): Tensor {
    const { enabled, active } = this.#state;
    if (this.#merged !== undefined) {
      // Switched off while merged: the weight from before the merge is still there.
      return this.baseForward(x, enabled ? this.base_layer.weight : this.#merged.original);
    }
    let result: Tensor | undefined = undefined;
    for (const name of enabled ? active : []) {
      const adapter = this.#adapter(name);
      if (adapter?.magnitude !== undefined) {
        result = this.#withDora(result, x, adapter, adapter.magnitude);
      } else if (adapter !== undefined) {
        const { scaling } = adapter.settings;
        const dropped = this.#dropped(x, adapter);
        result =
          result === undefined
            ? this.adaptedForward(x, dropped, adapter, scaling)
            : this.addProduct(result, dropped, adapter, scaling);
      }
    }
    return result ?? this.base_layer.forward(x);
  }

  /** As of an `ExpertLayer`; undefined where it is not all that this layer does. */
  lowRank(): { base: B; changes: readonly LowRankChange[] } | undefined {
    const { enabled, active } = this.#state;
    if (this.#merged !== undefined) return enabled ? { base: this.base_layer, changes: [] } : undefined;
    const adapters = (enabled ? active : []).flatMap((name) => this.#adapter(name) ?? []);
    if (this.isTransposed || adapters.some(({ magnitude }) => magnitude !== undefined)) return undefined;
    const changes = adapters.map(({ a, b, settings }) => ({
      a,
      b,
      scaling: settings.scaling,
      dropout: this.training ? settings.dropout : 0,
    }));
    return { base: this.base_layer, changes };
  }

  /**
   * Puts adapters into the base weight, exactly: each merge starts from the weight before the first one.
   * @param keepOriginal whether `unmerge` will be possible
   */
  merge(adapters: readonly string[], keepOriginal = true): void {
    const names = this.#withMerged(adapters);
    if (names.length === this.mergedAdapters.length) {
      return;
    }
    const original = this.#frozenWeight();
    const merged = this.mergedWeight(names);
    if (this.#merged !== undefined) {
      this.base_layer.weight.dispose(); // an earlier merge
    }
    this.base_layer.weight = takenParameter(merged, false);
    this.#merged = keepOriginal ? { original, adapters: names } : undefined;
  }

  /** The weight that `merge` would leave, as a tensor of its own; the layer stays as it is. */
  mergedWeight(adapters: readonly string[]): Tensor {
    const original = this.#frozenWeight();
    const names = this.#withMerged(adapters);
    if (names.length === 0) {
      return new Parameter(original, false);
    }
    return noGrad(() =>
      scope(() =>
        mergedWeight(
          original,
          names.map((name) => this.#change(name, original)),
          this.isTransposed,
        ),
      ),
    );
  }

  /** The adapters of this layer that are merged, and those of `adapters`. */
  #withMerged(adapters: readonly string[]): readonly string[] {
    return [...new Set([...this.mergedAdapters, ...adapters])].filter((name) => this.#settings.has(name));
  }

  /** Puts back the weight from before the first merge, bit for bit. */
  unmerge(): void {
    if (this.#merged !== undefined) {
      this.base_layer.weight.dispose();
      this.base_layer.weight = this.#merged.original;
      this.#merged = undefined;
    }
  }

  /**
   * DoRA: f · (W·x + scaling · B·A·x) + bias, with a factor f for each output feature that gives its row of the weight the learnt length. With
   * dropout only the change to the base layer sees the dropped x.
   */
  #withDora(before: Tensor | undefined, x: Tensor, adapter: Adapter, magnitude: DoraMagnitude): Tensor {
    const { settings } = adapter;
    const { weight } = this.base_layer;
    const { bias } = this;
    const factors = this.#rowFactors(weight, adapter, magnitude, this.#state.weightsHeld);
    const dropped = this.#dropped(x, adapter);
    const plain = this.product(dropped, weight);
    if (before === undefined && dropped === x) {
      const adapted = this.addProduct(plain, x, adapter, settings.scaling);
      const scaled = cast(mul(adapted, factors), adapted.dtype);
      return bias === undefined ? scaled : cast(add(scaled, bias), adapted.dtype);
    }
    const adapted = this.addProduct(this.product(dropped, weight), dropped, adapter, settings.scaling);
    const change = sub(mul(adapted, factors), plain);
    const result = before ?? this.baseForward(x, weight);
    return cast(add(result, change), result.dtype);
  }

  /** Embeddings look ids up: there is nothing to drop. */
  #dropped(x: Tensor, { settings }: Adapter): Tensor {
    return this.training && settings.dropout > 0 && x.dtype !== "int32" ? dropout(x, settings.dropout) : x;
  }

  #rowFactors(weight: Tensor, { a, b, settings }: Adapter, magnitude: DoraMagnitude, held: boolean): Tensor {
    return magnitude.rowFactors(() => this.#asRows(weight), a, b, settings.scaling, held);
  }

  #change(name: string, original: Parameter): WeightChange {
    const adapter = this.#adapter(name)!;
    const { a, b, magnitude, settings } = adapter;
    const rowFactors = magnitude && this.#rowFactors(original, adapter, magnitude, false);
    return { a, b, scaling: settings.scaling, rowFactors };
  }

  #adapter(name: string): Adapter | undefined {
    const settings = this.#settings.get(name);
    const factors = settings && this.factors(name);
    return factors && { ...factors, magnitude: this.lora_magnitude_vector.get(name), settings };
  }

  /** The weight as `[out, in]`. */
  #asRows(weight: Tensor): Tensor {
    return this.isTransposed ? transpose(weight, 0, 1) : weight;
  }

  #frozenWeight(): Parameter {
    return this.#merged?.original ?? this.base_layer.weight;
  }
}
