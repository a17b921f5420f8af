import type { TrainableModel } from "../slots.ts";

/** How a model goes to a folder and comes back; the default is Hugging Face's layout. */
export interface ModelFiles<Model extends TrainableModel> {
  /** Writes the weights of a model, or its adapter, into an existing folder. */
  save(model: Model, directory: string): void | Promise<void>;
  /** Puts the trainable weights of a folder written by `save` back into the model, in place, to the bit. */
  restore(model: Model, directory: string): void | Promise<void>;
}
