import { ModelsError } from "../errors.ts";

/** An adapter configuration that is wrong, or asks for what is not implemented. */
export class AdapterConfigError extends ModelsError {
  override name = "AdapterConfigError";
}

/** An adapter that does not fit the model: no module to adapt, or tensors that are missing, extra or of another shape. */
export class AdapterError extends ModelsError {
  override name = "AdapterError";
}
