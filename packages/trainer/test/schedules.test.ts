import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { ArgumentError, countWarmupSteps, createSchedule, type SchedulerType } from "../src/index.ts";

interface Golden {
  name: SchedulerType;
  learning_rate: number;
  num_warmup_steps: number;
  num_training_steps: number | null;
  scheduler_specific_kwargs: Record<string, unknown>;
  lr: number[];
}

const fixture = new URL("../../../packages-private/fixtures/schedules.json", import.meta.url);
const goldens = (JSON.parse(readFileSync(fixture, "utf8")) as { schedules: Golden[] }).schedules;

describe("schedules are those of transformers.get_scheduler", () => {
  it.each(
    goldens.map(
      (golden) =>
        [
          `${golden.name} ${golden.num_warmup_steps} ${JSON.stringify(golden.scheduler_specific_kwargs)}`,
          golden,
        ] as const,
    ),
  )("%s", (_, golden) => {
    const schedule = createSchedule({
      type: golden.name,
      learningRate: golden.learning_rate,
      warmupSteps: golden.num_warmup_steps,
      totalSteps: golden.num_training_steps ?? undefined,
      settings: golden.scheduler_specific_kwargs,
    });
    expect(golden.lr.length).toBe(101);
    // The same float64 arithmetic; the cosine of the two mathematics libraries may differ in its last bit.
    for (const [step, expected] of golden.lr.entries()) {
      expect(Math.abs(schedule(step) - expected)).toBeLessThanOrEqual(4e-16 * golden.learning_rate);
    }
  });
});

describe("warmup", () => {
  it("rounds a fraction of all steps up", () => {
    expect(countWarmupSteps({ warmupSteps: 0.1, warmupRatio: 0 }, 20)).toBe(2);
    expect(countWarmupSteps({ warmupSteps: 0, warmupRatio: 0.03 }, 101)).toBe(4);
    expect(countWarmupSteps({ warmupSteps: 7, warmupRatio: 0.5 }, 20)).toBe(7);
    expect(countWarmupSteps({ warmupSteps: 0, warmupRatio: 0 }, 20)).toBe(0);
  });
});

describe("settings of a schedule", () => {
  const base = { learningRate: 1e-3, warmupSteps: 10, totalSteps: 100 } as const;

  it("names the nearest setting for an unknown one", () => {
    const options = { ...base, type: "cosine", settings: { num_cycle: 2 } } as const;
    expect(() => createSchedule(options)).toThrow(ArgumentError);
    expect(() => createSchedule(options)).toThrow(
      "lr_scheduler_kwargs: cosine has no setting num_cycle; expected num_cycles. Did you mean num_cycles?",
    );
  });

  it("asks for what is missing", () => {
    expect(() => createSchedule({ ...base, type: "warmup_stable_decay" })).toThrow("needs the setting num_decay_steps");
    expect(() => createSchedule({ ...base, type: "cosine_with_min_lr" })).toThrow(
      "needs one of min_lr_rate and min_lr, found none",
    );
    expect(() =>
      createSchedule({ ...base, type: "cosine_with_min_lr", settings: { min_lr: 1e-5, min_lr_rate: 0.1 } }),
    ).toThrow("found both");
  });

  it("refuses a wrong value", () => {
    expect(() => createSchedule({ ...base, type: "polynomial", settings: { lr_end: 1 } })).toThrow(
      "lr_end 1 must be below learning_rate 0.001",
    );
    expect(() => createSchedule({ ...base, type: "cosine", settings: { num_cycles: "two" } })).toThrow(
      'num_cycles must be a number, found "two"',
    );
    expect(() =>
      createSchedule({ ...base, type: "warmup_stable_decay", settings: { num_decay_steps: 5, decay_type: "step" } }),
    ).toThrow('decay_type must be one of linear, cosine, 1-sqrt, found "step"');
    expect(() => createSchedule({ ...base, totalSteps: undefined, type: "linear" })).toThrow(
      "needs the number of steps",
    );
  });
});
