/** A command-line flag, YAML key or option of TrainingArguments that cannot be used as given. */
export class ArgumentError extends Error {
  override readonly name = "ArgumentError";
}

/** A checkpoint directory that cannot be written, found or read back. */
export class TrainingCheckpointError extends Error {
  override readonly name = "TrainingCheckpointError";
}

/** A run that cannot go on: a loss that is not finite, a step without a trainable token, a data set without a batch. */
export class TrainingError extends Error {
  override readonly name = "TrainingError";
}
