import { type Embedding, embedding, type Parameter, type Tensor, transpose } from "@fms-accel/tensor";

import { AdapterParameters } from "./adapter-modules.ts";
import type { AdapterState } from "./adapter-state.ts";
import type { LoraConfig } from "./lora-config.ts";
import { type LoraFactors, LoraLayer } from "./lora-layer.ts";
import { createEmbeddingWeights, type LoraWeightOptions } from "./lora-parameters.ts";
import { addLowRank } from "./lora-product.ts";

/** An embedding with low-rank adapters: the id i is the one-hot input that A multiplies, so A·x is column i of A. */
export class LoraEmbedding extends LoraLayer<Embedding> {
  /** `[r, count]` */
  readonly lora_embedding_A: AdapterParameters;
  /** `[dim, r]` */
  readonly lora_embedding_B: AdapterParameters;

  constructor(base: Embedding, state: AdapterState) {
    super(base, state, true);
    this.lora_embedding_A = new AdapterParameters();
    this.lora_embedding_B = new AdapterParameters();
    this.train(base.training);
  }

  override get in_features(): number {
    return this.base_layer.num_embeddings;
  }
  override get out_features(): number {
    return this.base_layer.embedding_dim;
  }
  get num_embeddings(): number {
    return this.base_layer.num_embeddings;
  }
  get embedding_dim(): number {
    return this.base_layer.embedding_dim;
  }

  override factors(adapter: string): LoraFactors | undefined {
    const [a, b] = [this.lora_embedding_A.get(adapter), this.lora_embedding_B.get(adapter)];
    return a && b && { a, b };
  }

  override *namedFactors(adapter: string): Iterable<[string, Parameter]> {
    const [a, b] = [this.lora_embedding_A.get(adapter), this.lora_embedding_B.get(adapter)];
    if (a !== undefined && b !== undefined) {
      yield ["lora_embedding_A", a];
      yield ["lora_embedding_B", b];
    }
  }

  override *factorShapes(r: number): Iterable<[string, readonly number[]]> {
    yield ["lora_embedding_A", [r, this.in_features]];
    yield ["lora_embedding_B", [this.out_features, r]];
  }

  protected override createFactors(adapter: string, config: LoraConfig, r: number, options: LoraWeightOptions): void {
    const { a, b } = createEmbeddingWeights(config.initLoraWeights, r, this.in_features, this.out_features, options);
    this.lora_embedding_A.set(adapter, a);
    this.lora_embedding_B.set(adapter, b);
  }

  protected override deleteFactors(adapter: string): void {
    for (const parameters of [this.lora_embedding_A, this.lora_embedding_B]) {
      parameters.get(adapter)?.dispose();
      parameters.delete(adapter);
    }
  }

  protected override baseForward(ids: Tensor, weight: Parameter): Tensor {
    return weight === this.base_layer.weight ? this.base_layer.forward(ids) : this.#lookUp(ids, weight);
  }

  protected override product(ids: Tensor, weight: Parameter): Tensor {
    return this.baseForward(ids, weight);
  }

  protected override addProduct(result: Tensor, ids: Tensor, { a, b }: LoraFactors, scaling: number): Tensor {
    return addLowRank(result, this.#lookUp(ids, transpose(a, 0, 1)), b, scaling);
  }

  /** As in PEFT, the padding id learns nothing through an adapter either. */
  #lookUp(ids: Tensor, weight: Tensor): Tensor {
    return embedding(ids, weight, { paddingIdx: this.base_layer.paddingIdx });
  }
}
