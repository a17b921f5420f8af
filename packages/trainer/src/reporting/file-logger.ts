import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { TrainerCallback } from "../training/callbacks.ts";
import type { LogEntry } from "../training/state.ts";

/** fms-hf-tuning's names of the values that its file logger follows. */
const tracked = [
  ["loss", "training_loss"],
  ["eval_loss", "validation_loss"],
] as const;

/**
 * fms-hf-tuning's training_logs.jsonl: a line `{"data": {"epoch", "step", "timestamp", "value"}, "name"}` for each loss, written as it
 * happens. A new run starts a new file; a resumed one drops the lines after its checkpoint, and one that a crash cut short.
 */
export class FileLogger implements TrainerCallback {
  readonly #path: string;
  readonly #now: () => Date;

  constructor(path: string, now: () => Date = () => new Date()) {
    this.#path = path;
    this.#now = now;
  }

  onTrainBegin: NonNullable<TrainerCallback["onTrainBegin"]> = ({ state, resumedFrom }) => {
    mkdirSync(dirname(this.#path), { recursive: true });
    const before =
      resumedFrom !== undefined && existsSync(this.#path)
        ? readFileSync(this.#path, "utf8").split("\n").filter(isLogLine)
        : [];
    const expected = state.logHistory.flatMap((entry) => this.#lines(entry));
    const lines = expected.map((line, index) => before[index] ?? line);
    const temporary = `${this.#path}.tmp`;
    writeFileSync(temporary, lines.map((line) => `${line}\n`).join(""));
    renameSync(temporary, this.#path);
  };

  onLog: NonNullable<TrainerCallback["onLog"]> = ({ logs }) => {
    for (const line of this.#lines(logs)) appendFileSync(this.#path, `${line}\n`);
  };

  #lines(entry: LogEntry): string[] {
    return tracked.flatMap(([key, name]) => {
      const value = entry[key];
      if (value === undefined) return [];
      const epoch = Math.round(Number(entry["epoch"]) * 100) / 100;
      return [
        JSON.stringify({ data: { epoch, step: entry["step"], timestamp: this.#now().toISOString(), value }, name }),
      ];
    });
  }
}

function isLogLine(line: string): boolean {
  try {
    return typeof JSON.parse(line) === "object";
  } catch {
    return false;
  }
}
