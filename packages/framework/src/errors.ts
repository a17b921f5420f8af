/** A command line that cannot be understood: an unknown flag or command, a missing or malformed value. The message says what to type instead. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** A configuration file that cannot be used as given; the message starts with `file:line:column`. */
export class ConfigurationError extends Error {
  override readonly name = "ConfigurationError";
}
