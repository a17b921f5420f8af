/** A command line that cannot be understood: an unknown flag or command, a missing or malformed value. The message says what to type instead. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** A configuration file that cannot be used as given; every line of the message starts with `file:line:column`. */
export class ConfigurationError extends Error {
  override readonly name = "ConfigurationError";

  /** @param problems one text, or several, each of which becomes one line whatever a file has put into it */
  constructor(problems: string | readonly string[], options?: ErrorOptions) {
    const lines = typeof problems === "string" ? [problems] : problems;
    super(lines.map((line) => line.replaceAll(/\s*[\n\r]\s*/g, " ")).join("\n"), options);
  }
}

/** A rule that cannot be, or a model that cannot be patched with the rules given. */
export class PatchError extends Error {
  override readonly name = "PatchError";
}

/** A plugin that is declared, built or used in a way that cannot work. The message says what to do. */
export class PluginError extends Error {
  override readonly name = "PluginError";
}
