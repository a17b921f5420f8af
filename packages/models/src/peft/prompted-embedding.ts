import { cast, cat, type Embedding, expand, Module, slice, type Tensor, unsqueeze } from "@fms-accel/tensor";

/** An embedding that gives vectors in place of the first ids of each row, as long as there are such. */
export class PromptedEmbedding extends Module {
  readonly base_layer: Embedding;
  /** `[virtual tokens, dim]`: what stands before the ids of this call; undefined: nothing does. */
  #prompt: Tensor | undefined;

  constructor(base: Embedding) {
    super();
    this.base_layer = base;
    this.#prompt = undefined;
    this.train(base.training);
  }

  get num_embeddings(): number {
    return this.base_layer.num_embeddings;
  }
  get embedding_dim(): number {
    return this.base_layer.embedding_dim;
  }

  /** Runs `body` with vectors in place of the first ids. */
  withPrompt<T>(prompt: Tensor, body: () => T): T {
    this.#prompt = prompt;
    try {
      return body();
    } finally {
      this.#prompt = undefined;
    }
  }

  /** ids `[B, T]` → `[B, T, dim]` */
  forward(ids: Tensor): Tensor {
    const prompt = this.#prompt;
    if (prompt === undefined) {
      return this.base_layer.forward(ids);
    }
    const [batch, length] = ids.shape as [number, number];
    const [count, dim] = prompt.shape as [number, number];
    const looked = this.base_layer.forward(slice(ids, 1, count, length));
    return cat([expand(unsqueeze(cast(prompt, looked.dtype), 0), [batch, count, dim]), looked], 1);
  }
}
