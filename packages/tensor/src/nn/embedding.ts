import { empty, type TensorOptions } from "../create.ts";
import { embedding } from "../ops/indexing.ts";
import type { Tensor } from "../tensor.ts";
import { Module } from "./module.ts";
import { Parameter } from "./parameter.ts";

export interface EmbeddingOptions extends TensorOptions {
  /** The row that gets no gradient through a lookup. */
  paddingIdx?: number | undefined;
}

/** A table of vectors, weight [count, dim], looked up by integer ids. The weights are uninitialised. */
export class Embedding extends Module {
  readonly num_embeddings: number;
  readonly embedding_dim: number;
  readonly paddingIdx: number | undefined;
  weight: Parameter;

  constructor(count: number, dim: number, options: EmbeddingOptions = {}) {
    super();
    this.num_embeddings = count;
    this.embedding_dim = dim;
    this.paddingIdx = options.paddingIdx;
    this.weight = new Parameter(empty([count, dim], options));
  }

  /** ids [...] → [..., dim] */
  forward(ids: Tensor): Tensor {
    return embedding(ids, this.weight, this.paddingIdx === undefined ? {} : { paddingIdx: this.paddingIdx });
  }
}
