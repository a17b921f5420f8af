import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { resolveTrainingArguments } from "../../src/arguments/parse.ts";
import { FileLogger } from "../../src/reporting/file-logger.ts";
import type { TrainerEvent } from "../../src/training/callbacks.ts";
import { newTrainerControl, newTrainerState, type LogEntry } from "../../src/training/state.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "fms-accel-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function event(logHistory: LogEntry[]): TrainerEvent {
  const { training } = resolveTrainingArguments({ outputDir: folder });
  return {
    args: training,
    state: { ...newTrainerState(), logHistory },
    control: newTrainerControl(),
    model: undefined,
  };
}

const path = (): string => join(folder, "deep", "training_logs.jsonl");
const lines = (): unknown[] =>
  readFileSync(path(), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as unknown);
const clock = (minute: number) => (): Date => new Date(Date.UTC(2024, 0, 1, 0, minute));

describe("training_logs.jsonl", () => {
  const first: LogEntry = { loss: 2.5, learning_rate: 0.1, epoch: 0.123456, step: 1 };
  const second: LogEntry = { eval_loss: 2.25, epoch: 0.2, step: 2 };
  const third: LogEntry = { loss: 2, epoch: 0.3, step: 3 };

  it("has fms-hf-tuning's lines for training and validation losses", async () => {
    const logger = new FileLogger(path(), clock(5));
    await logger.onTrainBegin({ ...event([]), resumedFrom: undefined });
    for (const logs of [first, { train_runtime: 1, epoch: 1, step: 9 }, second])
      await logger.onLog({ ...event([]), logs });
    expect(readFileSync(path(), "utf8").split("\n")[0]).toBe(
      '{"data":{"epoch":0.12,"step":1,"timestamp":"2024-01-01T00:05:00.000Z","value":2.5},"name":"training_loss"}',
    );
    expect(lines()).toHaveLength(2);
    expect(lines()[1]).toMatchObject({ name: "validation_loss", data: { value: 2.25, step: 2 } });
  });

  it("drops what comes after the checkpoint of a resumed run, and a line that was cut short", async () => {
    const before = new FileLogger(path(), clock(1));
    await before.onTrainBegin({ ...event([]), resumedFrom: undefined });
    for (const logs of [first, second, third]) await before.onLog({ ...event([]), logs });
    appendFileSync(path(), '{"data":{"epo');
    const after = new FileLogger(path(), clock(2));
    await after.onTrainBegin({ ...event([first, second]), resumedFrom: "checkpoint-2" });
    await after.onLog({ ...event([]), logs: third });
    expect(lines()).toMatchObject([
      { data: { step: 1, timestamp: "2024-01-01T00:01:00.000Z" } },
      { data: { step: 2, timestamp: "2024-01-01T00:01:00.000Z" } },
      { data: { step: 3, timestamp: "2024-01-01T00:02:00.000Z" } },
    ]);
  });

  it("is written again from log_history when it is gone, and begins anew with a new run", async () => {
    const resumed = new FileLogger(path(), clock(3));
    await resumed.onTrainBegin({ ...event([first, second]), resumedFrom: "checkpoint-2" });
    expect(lines()).toHaveLength(2);
    await resumed.onTrainBegin({ ...event([]), resumedFrom: undefined });
    expect(readFileSync(path(), "utf8")).toBe("");
  });
});
