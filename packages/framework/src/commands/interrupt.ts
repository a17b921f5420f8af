/** What sends signals: the process, or an emitter in tests. */
export interface SignalSource {
  on(signal: "SIGINT" | "SIGTERM", listener: () => void): unknown;
  off(signal: "SIGINT" | "SIGTERM", listener: () => void): unknown;
}

export interface Interruption {
  /** Begins to listen: before, Ctrl-C ends the process, as there is nothing to save yet. */
  listen(): void;
  /** Aborts when a signal asked for the end: the trainer then finishes its step, saves a checkpoint and returns. */
  readonly signal: AbortSignal;
  /** Stops listening. */
  dispose(): void;
}

export interface InterruptionOptions {
  readonly source?: SignalSource;
  /** Called at the first signal. */
  readonly onRequest: () => void;
  /** Called at the second signal; ends the process. */
  readonly onInsist: () => void;
}

/**
 * Ctrl-C during training: the first one lets the step finish, saves a checkpoint and stops; a second one ends the process at once.
 *
 * Signals reach JavaScript only between steps. Two that came during one step are both delivered then, and count as two. After the first
 * was seen alone, listening stops, so that the operating system ends the process at the next one, in the middle of native code too.
 */
export function createInterruption({ source = process, onRequest, onInsist }: InterruptionOptions): Interruption {
  const controller = new AbortController();
  const listener = (): void => {
    if (controller.signal.aborted) return onInsist();
    controller.abort();
    onRequest();
    setImmediate(dispose);
  };
  const dispose = (): void => {
    source.off("SIGINT", listener);
    source.off("SIGTERM", listener);
  };
  const listen = (): void => {
    source.on("SIGINT", listener);
    source.on("SIGTERM", listener);
  };
  return { signal: controller.signal, listen, dispose };
}

/** A command line that goes on from a checkpoint, ready to paste into a shell. */
export function resumeCommand(argv: readonly string[], checkpoint: string): string {
  const kept: string[] = [];
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at] ?? "";
    if (!/^--resume[-_]from[-_]checkpoint(=|$)/.test(word)) kept.push(word);
    else if (!word.includes("=") && argv[at + 1]?.startsWith("--") === false) at++;
  }
  return ["npx", "fms-accel", ...kept, "--resume_from_checkpoint", checkpoint].map(shellWord).join(" ");
}

function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
