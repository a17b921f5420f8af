import { basename } from "node:path";
import { MultiBar, Presets, type SingleBar } from "cli-progress";
import type { TrainerCallback } from "../training/callbacks.ts";
import type { LogEntry } from "../training/state.ts";
import type { StepReport } from "../training/train-step.ts";
import { formatDuration, formatNumber } from "./format.ts";
import type { TerminalOutput } from "./terminal-output.ts";

/** Milliseconds between looks at numbers that lie on a GPU: each look waits for it. */
const LOOK_INTERVAL = 250;

/** Steps that speed and ETA are averaged over. */
const SPEED_WINDOW = 20;

/**
 * Shows a run on a terminal: a progress bar with loss, learning rate, gradient norm, tokens/s and ETA. On anything but a terminal, or with
 * `bar` false, one plain line for each log entry.
 */
export class TerminalReporter implements TrainerCallback {
  readonly #output: TerminalOutput;
  readonly #wantsBar: boolean;
  #bars: MultiBar | undefined;
  #bar: SingleBar | undefined;
  /** Text behind the bar: what the last step did. */
  #details = "";
  #lookedAt = 0;
  /** Ends of the latest steps (ms) with the tokens that each read. */
  #recent: { readonly time: number; readonly tokens: number }[] = [];

  constructor(output: TerminalOutput, bar: boolean) {
    this.#output = output;
    this.#wantsBar = bar && output.isTTY === true;
  }

  /** A line of its own, above the bar if there is one. */
  print(line: string): void {
    if (this.#bars === undefined) this.#output.write(`${line}\n`);
    else this.#bars.log(`${line}\n`);
  }

  onTrainBegin: NonNullable<TrainerCallback["onTrainBegin"]> = ({ state, resumedFrom }) => {
    if (resumedFrom !== undefined)
      this.print(`Going on from ${resumedFrom}, after step ${state.globalStep} of ${state.maxSteps}.`);
    this.#recent = [{ time: performance.now(), tokens: 0 }];
    if (!this.#wantsBar) return;
    this.#bars = new MultiBar(
      {
        // A stream that says it is a terminal is one; the package's types ask for more than it uses.
        stream: this.#output as NodeJS.WritableStream,
        format: " {bar} {percentage}% | step {value}/{total} | {details}",
        barsize: 20,
        hideCursor: true,
        gracefulExit: false,
        fps: 5,
      },
      Presets.shades_classic,
    );
    this.#bar = this.#bars.create(state.maxSteps, state.globalStep, { details: "" });
    // A process that exits in the middle gives the terminal its cursor back.
    process.once("exit", this.#endBar);
  };

  onStepEnd: NonNullable<TrainerCallback["onStepEnd"]> = ({ state, step }) => {
    this.#recent.push({ time: performance.now(), tokens: step.inputTokens });
    if (this.#recent.length > SPEED_WINDOW + 1) this.#recent.shift();
    if (this.#bar === undefined) return;
    const now = performance.now();
    if (step.isPending !== true || now - this.#lookedAt >= LOOK_INTERVAL) {
      this.#lookedAt = now;
      this.#details = this.#describeStep(step, state.maxSteps - state.globalStep);
    }
    this.#bar.update(state.globalStep, { details: this.#details });
  };

  onPredictionStep: NonNullable<TrainerCallback["onPredictionStep"]> = ({ state, batchIndex, batchCount }) => {
    this.#bar?.update(state.globalStep, { details: `evaluating: batch ${batchIndex + 1} of ${batchCount}` });
  };

  onEvaluate: NonNullable<TrainerCallback["onEvaluate"]> = ({ state }) => {
    this.#bar?.update(state.globalStep, { details: this.#details });
  };

  onLog: NonNullable<TrainerCallback["onLog"]> = ({ state, logs }) => {
    if (this.#bar === undefined || !("loss" in logs)) this.print(this.#describeLog(logs, state.maxSteps));
  };

  onSave: NonNullable<TrainerCallback["onSave"]> = ({ checkpoint }) => {
    this.print(`Saved ${basename(checkpoint)}.`);
  };

  onTrainEnd: NonNullable<TrainerCallback["onTrainEnd"]> = () => {
    this.#endBar();
  };

  #endBar = (): void => {
    process.removeListener("exit", this.#endBar);
    // Lines that were printed since the last redraw.
    this.#bars?.update();
    this.#bars?.stop();
    this.#bars = undefined;
    this.#bar = undefined;
  };

  #describeStep(step: StepReport, remaining: number): string {
    const { tokensPerSecond, secondsPerStep } = this.#speed();
    return [
      `loss ${formatNumber(step.loss)}`,
      `lr ${formatNumber(step.learningRate)}`,
      ...(step.gradNorm === undefined ? [] : [`grad norm ${formatNumber(step.gradNorm)}`]),
      `${formatNumber(tokensPerSecond)} tokens/s`,
      `ETA ${formatDuration(secondsPerStep * remaining)}`,
    ].join(" | ");
  }

  #describeLog(logs: LogEntry, maxSteps: number): string {
    const { epoch, step, ...values } = logs;
    const isProgress = "loss" in logs;
    const { tokensPerSecond, secondsPerStep } = this.#speed();
    const parts = Object.entries(values).map(
      ([name, value]) => `${name.replaceAll("_", " ")} ${typeof value === "number" ? formatNumber(value) : value}`,
    );
    if (isProgress)
      parts.push(
        `${formatNumber(tokensPerSecond)} tokens/s`,
        `ETA ${formatDuration(secondsPerStep * (maxSteps - Number(step)))}`,
      );
    return [`step ${step}/${maxSteps}`, `epoch ${formatNumber(Number(epoch))}`, ...parts].join(" | ");
  }

  #speed(): { tokensPerSecond: number; secondsPerStep: number } {
    const [first] = this.#recent;
    const last = this.#recent.at(-1);
    if (first === undefined || last === undefined || this.#recent.length < 2)
      return { tokensPerSecond: 0, secondsPerStep: Number.NaN };
    const seconds = (last.time - first.time) / 1000;
    const tokens = this.#recent.slice(1).reduce((sum, entry) => sum + entry.tokens, 0);
    return { tokensPerSecond: tokens / seconds, secondsPerStep: seconds / (this.#recent.length - 1) };
  }
}
