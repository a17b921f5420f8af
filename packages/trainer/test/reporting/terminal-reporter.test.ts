import { describe, expect, it } from "vitest";
import { resolveTrainingArguments } from "../../src/arguments/parse.ts";
import { formatDuration, formatNumber } from "../../src/reporting/format.ts";
import { TerminalReporter } from "../../src/reporting/terminal-reporter.ts";
import type { TrainerEvent } from "../../src/training/callbacks.ts";
import { newTrainerControl, newTrainerState } from "../../src/training/state.ts";
import type { StepReport } from "../../src/training/train-step.ts";

describe("numbers for people", () => {
  it.each([
    [0, "0"],
    [2e-4, "2e-4"],
    [1.5e-5, "1.5e-5"],
    [0.0123456, "0.01235"],
    [6.76181697845459, "6.762"],
    [1234.56, "1,235"],
    [12345678, "1.23e7"],
    [Number.NaN, "NaN"],
  ])("%d", (value, text) => {
    expect(formatNumber(value)).toBe(text);
  });

  it.each([
    [0.4, "0s"],
    [59.4, "59s"],
    [200, "3m 20s"],
    [7500, "2h 05m"],
    [Number.NaN, "?"],
  ])("%d seconds", (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });
});

const step: StepReport = {
  loss: 2.345678,
  gradNorm: 1.5,
  learningRate: 2e-4,
  trainableTokens: 10,
  inputTokens: 1000,
  samples: 2,
  positions: 1200,
  maskedBatches: 0,
  updated: true,
  seconds: 0.1,
};

function event(): TrainerEvent {
  const { training } = resolveTrainingArguments({ saveStrategy: "no" });
  return {
    args: training,
    state: { ...newTrainerState(), maxSteps: 4, globalStep: 1 },
    control: newTrainerControl(),
    model: undefined,
  };
}

describe("progress", () => {
  it("is one plain line a log entry where there is no terminal", async () => {
    let text = "";
    const reporter = new TerminalReporter({ write: (part: string) => (text += part) }, true);
    await reporter.onTrainBegin({ ...event(), resumedFrom: "out/checkpoint-1" });
    await reporter.onStepEnd({ ...event(), step });
    await reporter.onLog({
      ...event(),
      logs: { loss: 2.345678, grad_norm: 1.5, learning_rate: 2e-4, epoch: 0.25, step: 1 },
    });
    await reporter.onLog({ ...event(), logs: { eval_loss: 2, epoch: 0.25, step: 1 } });
    await reporter.onSave({ ...event(), checkpoint: "out/checkpoint-1" });
    await reporter.onTrainEnd(event());
    const lines = text.trimEnd().split("\n");
    expect(lines[0]).toBe("Going on from out/checkpoint-1, after step 1 of 4.");
    expect(lines[1]).toMatch(
      /^step 1\/4 \| epoch 0\.25 \| loss 2\.346 \| grad norm 1\.5 \| learning rate 2e-4 \| [\d.,e]+ tokens\/s \| ETA \d+s$/,
    );
    expect(lines[2]).toBe("step 1/4 | epoch 0.25 | eval loss 2");
    expect(lines[3]).toBe("Saved checkpoint-1.");
    expect(lines).toHaveLength(4);
  });

  it("is a bar on a terminal, with loss, rate, norm, speed and ETA", async () => {
    let text = "";
    const terminal = { isTTY: true, columns: 200, write: (part: string) => (text += part) };
    const reporter = new TerminalReporter(terminal, true);
    await reporter.onTrainBegin({ ...event(), resumedFrom: undefined });
    await reporter.onStepEnd({ ...event(), step });
    await reporter.onPredictionStep({ ...event(), batchIndex: 2, batchCount: 3 });
    await reporter.onEvaluate({ ...event(), metrics: {} });
    await reporter.onSave({ ...event(), checkpoint: "out/checkpoint-1" });
    await reporter.onTrainEnd(event());
    // Printed just before the end, and yet there.
    expect(text).toContain("Saved checkpoint-1.");
    expect(text).toMatch(/25% \| step 1\/4 \| loss 2\.346 \| lr 2e-4 \| grad norm 1\.5 \| [\d.,e]+ tokens\/s \| ETA/);
    const end = text.length;
    await reporter.onLog({ ...event(), logs: { loss: 1, epoch: 1, step: 1 } });
    expect(text.slice(end)).toContain("step 1/4");
  });
});
