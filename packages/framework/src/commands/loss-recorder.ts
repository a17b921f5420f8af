import type { TrainerCallback } from "@fms-accel/trainer";
import type { CurvePoint } from "../terminal/loss-chart.ts";

/** Keeps the loss of every step of a session, for the chart at its end. */
export class LossRecorder implements TrainerCallback {
  readonly points: CurvePoint[] = [];

  onStepEnd: NonNullable<TrainerCallback["onStepEnd"]> = ({ state, step }) => {
    this.points.push({ step: state.globalStep, value: step.loss });
  };
}
