import { ModelsError } from "../errors.ts";

/** Generation settings or inputs that cannot be used. */
export class GenerationError extends ModelsError {
  override name = "GenerationError";
}
