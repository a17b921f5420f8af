import { add, Linear, linear, lowRankLinear, matmul, type Parameter, type Tensor, transpose } from "@fms-accel/tensor";

import { Conv1D } from "../layers/conv1d.ts";
import { AdapterModules } from "./adapter-modules.ts";
import type { AdapterState } from "./adapter-state.ts";
import type { LoraConfig } from "./lora-config.ts";
import type { LoraEmbedding } from "./lora-embedding.ts";
import { type LoraFactors, LoraLayer } from "./lora-layer.ts";
import { createLoraWeights, type LoraWeightOptions } from "./lora-parameters.ts";
import { addLoraProduct } from "./lora-product.ts";

/** A linear layer, its weight stored `[out, in]` or, as GPT-2's Conv1D, `[in, out]`, with low-rank adapters. */
export class LoraLinear extends LoraLayer<Linear | Conv1D> {
  readonly lora_A: AdapterModules<Linear>;
  readonly lora_B: AdapterModules<Linear>;
  /** The embeddings whose factors adapters of this layer take, by adapter. */
  readonly #tied: Map<string, LoraEmbedding>;

  constructor(base: Linear | Conv1D, state: AdapterState) {
    super(base, state, base instanceof Conv1D);
    this.lora_A = new AdapterModules();
    this.lora_B = new AdapterModules();
    this.#tied = new Map();
    this.train(base.training);
  }

  override get in_features(): number {
    return this.base_layer.in_features;
  }
  override get out_features(): number {
    return this.base_layer.out_features;
  }
  override get bias(): Parameter | undefined {
    return this.base_layer.bias;
  }

  /** Whether an adapter of this layer has the factors of an embedding. */
  isTied(adapter: string): boolean {
    return this.#tied.has(adapter);
  }

  override factors(adapter: string): LoraFactors | undefined {
    const embedding = this.#tied.get(adapter)?.factors(adapter);
    if (embedding !== undefined) {
      return { a: transpose(embedding.b, 0, 1), b: transpose(embedding.a, 0, 1) };
    }
    const [a, b] = [this.lora_A.get(adapter)?.weight, this.lora_B.get(adapter)?.weight];
    return a && b && { a, b };
  }

  override *namedFactors(adapter: string): Iterable<[string, Parameter]> {
    const [a, b] = [this.lora_A.get(adapter)?.weight, this.lora_B.get(adapter)?.weight];
    if (a !== undefined && b !== undefined) {
      yield ["lora_A.weight", a];
      yield ["lora_B.weight", b];
    }
  }

  override *factorShapes(r: number): Iterable<[string, readonly number[]]> {
    yield ["lora_A.weight", [r, this.in_features]];
    yield ["lora_B.weight", [this.out_features, r]];
  }

  /** Replaces the A of an adapter by that of another layer, which sees the same input. */
  shareA(adapter: string, source: LoraLinear): void {
    this.lora_A.get(adapter)?.dispose();
    this.lora_A.set(adapter, source.lora_A.get(adapter)!);
  }

  /**
   * Adds an adapter that has the factors of the embedding with which this output head shares its weight: the change of the one is the change
   * of the other, and their gradients add up.
   */
  addTiedAdapter(adapter: string, config: LoraConfig, alpha: number, source: LoraEmbedding): void {
    this.#tied.set(adapter, source);
    this.register(adapter, config, source.settings(adapter)!.r, alpha);
  }

  protected override createFactors(adapter: string, config: LoraConfig, r: number, options: LoraWeightOptions): void {
    const { a, b } = createLoraWeights(config.initLoraWeights, r, this.in_features, this.out_features, options);
    this.lora_A.set(adapter, a);
    this.lora_B.set(adapter, b);
  }

  protected override deleteFactors(adapter: string): void {
    this.#tied.delete(adapter);
    for (const modules of [this.lora_A, this.lora_B]) {
      modules.get(adapter)?.dispose();
      modules.delete(adapter);
    }
  }

  protected override baseForward(x: Tensor, weight: Parameter): Tensor {
    const { base_layer: base } = this;
    if (weight === base.weight) {
      return base.forward(x);
    }
    return this.isTransposed ? add(matmul(x, weight), base.bias!) : linear(x, weight, base.bias);
  }

  /** As one product where the base layer is nothing but a product. */
  protected override adaptedForward(x: Tensor, dropped: Tensor, factors: LoraFactors, scaling: number): Tensor {
    const { base_layer: base } = this;
    if (base.forward !== Linear.prototype.forward) {
      return super.adaptedForward(x, dropped, factors, scaling);
    }
    const { a, b } = factors;
    return lowRankLinear(x, base.weight, a, b, scaling, { bias: base.bias, lowRankInput: dropped });
  }

  protected override product(x: Tensor, weight: Parameter): Tensor {
    return this.isTransposed ? matmul(x, weight) : linear(x, weight);
  }

  protected override addProduct(result: Tensor, x: Tensor, { a, b }: LoraFactors, scaling: number): Tensor {
    return addLoraProduct(result, x, a, b, scaling);
  }
}
