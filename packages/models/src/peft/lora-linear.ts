import {
  add,
  cast,
  dropout,
  linear,
  type Linear,
  Module,
  mul,
  noGrad,
  type Parameter,
  scope,
  sub,
  type Tensor,
} from "@fms-accel/tensor";

import { AdapterModules } from "./adapter-modules.ts";
import type { AdapterState } from "./adapter-state.ts";
import { DoraMagnitude, rowNorms } from "./dora.ts";
import type { LoraConfig } from "./lora-config.ts";
import { createLoraWeights, loraSettings, type LoraSettings, type LoraWeightOptions } from "./lora-parameters.ts";
import { addLoraProduct } from "./lora-product.ts";
import { mergedWeight, type WeightChange } from "./merge-weights.ts";
import { takenParameter } from "./owned-parameter.ts";

/** One adapter of one layer. */
interface Adapter {
  /** `[r, in]` */
  readonly a: Tensor;
  /** `[out, r]` */
  readonly b: Tensor;
  readonly magnitude: DoraMagnitude | undefined;
  readonly settings: LoraSettings;
}

/** The base weight from before a merge, and what was merged since. */
interface Merged {
  readonly original: Parameter;
  readonly adapters: readonly string[];
}

/**
 * A linear layer with low-rank adapters (Hu et al., 2021, arXiv:2106.09685): W·x + scaling · B·A·dropout(x) for each active
 * one. It stands in the place of its base layer, whose weight stays frozen; fields are named as in PEFT.
 */
export class LoraLinear extends Module {
  base_layer: Linear;
  readonly lora_A: AdapterModules<Linear>;
  readonly lora_B: AdapterModules<Linear>;
  readonly lora_magnitude_vector: AdapterModules<DoraMagnitude>;
  readonly #settings: Map<string, LoraSettings>;
  readonly #state: AdapterState;
  #merged: Merged | undefined;

  constructor(base: Linear, state: AdapterState) {
    super();
    this.base_layer = base;
    this.lora_A = new AdapterModules();
    this.lora_B = new AdapterModules();
    this.lora_magnitude_vector = new AdapterModules();
    this.train(base.training);
    this.#settings = new Map();
    this.#state = state;
    this.#merged = undefined;
  }

  get in_features(): number {
    return this.base_layer.in_features;
  }
  get out_features(): number {
    return this.base_layer.out_features;
  }
  /** The base layer's weight, with what is merged into it. */
  get weight(): Parameter {
    return this.base_layer.weight;
  }
  get bias(): Parameter | undefined {
    return this.base_layer.bias;
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
    const settings = loraSettings(config, r, alpha);
    const { a, b } = createLoraWeights(config.initLoraWeights, r, this.in_features, this.out_features, options);
    this.#settings.set(adapter, settings);
    this.lora_A.set(adapter, a);
    this.lora_B.set(adapter, b);
    if (config.useDora) {
      const magnitude = rowNorms(this.#frozenWeight(), a.weight, b.weight, settings.scaling);
      this.lora_magnitude_vector.set(adapter, new DoraMagnitude(magnitude));
    }
    this.train(this.training);
  }

  /** Removes an adapter and frees its weights. It must not be merged. */
  deleteAdapter(adapter: string): void {
    for (const modules of [this.lora_A, this.lora_B, this.lora_magnitude_vector]) {
      modules.get(adapter)?.dispose();
      modules.delete(adapter);
    }
    this.#settings.delete(adapter);
  }

  /** The parameters of one adapter: A, B and, with DoRA, the magnitude. */
  *adapterParameters(adapter: string): Iterable<Parameter> {
    for (const modules of [this.lora_A, this.lora_B, this.lora_magnitude_vector]) {
      yield* modules.get(adapter)?.parameters() ?? [];
    }
  }

  /** `[..., in]` → `[..., out]` */
  forward(x: Tensor): Tensor {
    const { enabled, active } = this.#state;
    if (this.#merged !== undefined) {
      // Switched off while merged: the weight from before the merge is still there.
      return enabled ? this.base_layer.forward(x) : linear(x, this.#merged.original, this.base_layer.bias);
    }
    let result: Tensor | undefined = undefined;
    for (const name of enabled ? active : []) {
      const adapter = this.#adapter(name);
      if (adapter?.magnitude !== undefined) {
        result = this.#withDora(result, x, adapter, adapter.magnitude);
      } else if (adapter !== undefined) {
        const dropped = this.#dropped(x, adapter);
        result = addLoraProduct(
          result ?? this.base_layer.forward(x),
          dropped,
          adapter.a,
          adapter.b,
          adapter.settings.scaling,
        );
      }
    }
    return result ?? this.base_layer.forward(x);
  }

  /**
   * Puts adapters into the base weight, exactly: each merge starts from the weight before the first one.
   * @param keepOriginal whether `unmerge` will be possible
   */
  merge(adapters: readonly string[], keepOriginal = true): void {
    const names = [...new Set([...this.mergedAdapters, ...adapters])].filter((name) => this.#settings.has(name));
    if (names.length === this.mergedAdapters.length) {
      return;
    }
    const original = this.#frozenWeight();
    const merged = noGrad(() =>
      scope(() =>
        mergedWeight(
          original,
          names.map((name) => this.#change(name, original)),
        ),
      ),
    );
    if (this.#merged !== undefined) {
      this.base_layer.weight.dispose(); // an earlier merge
    }
    this.base_layer.weight = takenParameter(merged, false);
    this.#merged = keepOriginal ? { original, adapters: names } : undefined;
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
   * DoRA: f · (W·x + scaling · B·A·x) + bias, with a factor f for each row that gives it its learnt length. With dropout
   * only the change to the base layer sees the dropped x.
   */
  #withDora(before: Tensor | undefined, x: Tensor, adapter: Adapter, magnitude: DoraMagnitude): Tensor {
    const { a, b, settings } = adapter;
    const { weight, bias } = this.base_layer;
    const factors = magnitude.rowFactors(weight, a, b, settings.scaling, this.#state.weightsHeld);
    const dropped = this.#dropped(x, adapter);
    const plain = linear(dropped, weight);
    if (before === undefined && dropped === x) {
      const adapted = addLoraProduct(plain, x, a, b, settings.scaling);
      const scaled = cast(mul(adapted, factors), adapted.dtype);
      return bias === undefined ? scaled : cast(add(scaled, bias), adapted.dtype);
    }
    const adapted = addLoraProduct(linear(dropped, weight), dropped, a, b, settings.scaling);
    const change = sub(mul(adapted, factors), plain);
    const result = before ?? this.base_layer.forward(x);
    return cast(add(result, change), result.dtype);
  }

  #dropped(x: Tensor, { settings }: Adapter): Tensor {
    return this.training && settings.dropout > 0 ? dropout(x, settings.dropout) : x;
  }

  #change(name: string, original: Parameter): WeightChange {
    const { a, b, magnitude, settings } = this.#adapter(name)!;
    return {
      a,
      b,
      scaling: settings.scaling,
      rowFactors: magnitude?.rowFactors(original, a, b, settings.scaling, false),
    };
  }

  #adapter(name: string): Adapter | undefined {
    const settings = this.#settings.get(name);
    const [a, b] = [this.lora_A.get(name)?.weight, this.lora_B.get(name)?.weight];
    if (settings === undefined || a === undefined || b === undefined) {
      return undefined;
    }
    return { a, b, magnitude: this.lora_magnitude_vector.get(name), settings };
  }

  #frozenWeight(): Parameter {
    return this.#merged?.original ?? this.base_layer.weight;
  }
}
