import { existsSync } from "node:fs";
import { basename, isAbsolute, join, resolve } from "node:path";
import { TrainingCheckpointError } from "../errors.ts";
import { recoverDirectories, writeDirectoryAtomically } from "./directory.ts";
import { checkpointName, listCheckpoints, rotateCheckpoints } from "./find.ts";

/** The checkpoints of one output folder. `report` gets a sentence for everything that was found wrong, or removed. */
export class CheckpointStore {
  readonly outputDir: string;
  readonly #report: (line: string) => void;
  #sequence = 0;
  #latest: string | undefined;

  constructor(outputDir: string, report: (line: string) => void) {
    this.outputDir = outputDir;
    this.#report = report;
  }

  /** The checkpoint that was written or resumed from last. */
  get latest(): string | undefined {
    return this.#latest;
  }

  /** Number for the next checkpoint: one more than any in the folder. */
  get nextSequence(): number {
    return this.#sequence + 1;
  }

  path(step: number): string {
    return join(this.outputDir, checkpointName(step));
  }

  /** Clears away what a crash left, and reads which checkpoints there are. */
  open(): void {
    const { removed, restored } = recoverDirectories(this.outputDir);
    if (removed.length > 0)
      this.#report(`Removed incomplete checkpoints of an interrupted run: ${removed.join(", ")}.`);
    if (restored.length > 0)
      this.#report(`Restored checkpoints that were about to be replaced: ${restored.join(", ")}.`);
    this.#sequence = listCheckpoints(this.outputDir).complete.at(-1)?.sequence ?? 0;
  }

  /**
   * The checkpoint that `resume_from_checkpoint` means: the one written last, or a folder.
   *
   * @throws TrainingCheckpointError for a folder that is not a complete checkpoint
   */
  find(resume: boolean | string | null): string | undefined {
    const { complete, unusable } = listCheckpoints(this.outputDir);
    if (resume === false || resume === null) {
      const newest = complete.at(-1);
      if (newest !== undefined) {
        this.#report(
          `${this.outputDir} has ${complete.length === 1 ? "a checkpoint" : `${complete.length} checkpoints`} of an earlier run. This run starts anew; ` +
            `--resume_from_checkpoint true would go on from ${basename(newest.path)}.`,
        );
      }
      return undefined;
    }
    if (resume === true) {
      for (const { path, reason } of unusable) this.#report(`${path} is passed over: ${reason}`);
      const newest = complete.at(-1);
      if (newest === undefined)
        this.#report(`${this.outputDir} has no checkpoint to resume from; the run starts at its beginning.`);
      return (this.#latest = newest?.path);
    }
    const path =
      !isAbsolute(resume) && !existsSync(resume) && existsSync(join(this.outputDir, resume))
        ? join(this.outputDir, resume)
        : resume;
    if (!existsSync(path))
      throw new TrainingCheckpointError(
        this.#missing(
          resume,
          complete.map((entry) => basename(entry.path)),
        ),
      );
    return (this.#latest = path);
  }

  /** Writes `checkpoint-<step>` through `body`, then removes the oldest beyond `limit`. */
  async write(
    step: number,
    limit: number | null,
    best: string | null,
    body: (directory: string) => Promise<void>,
  ): Promise<string> {
    const path = this.path(step);
    await writeDirectoryAtomically(path, body);
    this.#sequence++;
    this.#latest = path;
    if (limit !== null) rotateCheckpoints(this.outputDir, limit, best);
    return path;
  }

  #missing(wanted: string, known: readonly string[]): string {
    const there = known.length === 0 ? "no checkpoints" : known.join(", ");
    return `resume_from_checkpoint: ${resolve(wanted)} does not exist; ${this.outputDir} has ${there}. Give true for the newest.`;
  }
}
