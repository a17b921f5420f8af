import type { StepReport, TrainerCallback } from "@fms-accel/trainer";
import type { CurvePoint } from "../terminal/loss-chart.ts";

/** Keeps every step of a session, for the chart at its end. Losses are looked at then: on a GPU that waits. */
export class LossRecorder implements TrainerCallback {
  readonly #steps: { readonly step: number; readonly report: StepReport }[] = [];

  onStepEnd: NonNullable<TrainerCallback["onStepEnd"]> = ({ state, step }) => {
    this.#steps.push({ step: state.globalStep, report: step });
  };

  get points(): CurvePoint[] {
    return this.#steps.map(({ step, report }) => ({ step, value: report.loss }));
  }
}
