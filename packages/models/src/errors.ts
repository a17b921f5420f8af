/** Base of every error of this package: bad input is reported with a file, a place in it, what was expected and found. */
export class ModelsError extends Error {
  override name = "ModelsError";
}

/** A `config.json` (or a configuration object) that cannot be used as it is. */
export class ConfigError extends ModelsError {
  override name = "ConfigError";
}

/** A file that is not a valid safetensors file, or holds what this package cannot use. */
export class SafetensorsError extends ModelsError {
  override name = "SafetensorsError";
}

/** A checkpoint directory whose files are missing, contradict each other, or do not fit the model. */
export class CheckpointError extends ModelsError {
  override name = "CheckpointError";
}

/** A forward call with inputs of the wrong shape, dtype or combination. */
export class ModelInputError extends ModelsError {
  override name = "ModelInputError";
}
