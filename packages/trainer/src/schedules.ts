import { ArgumentError } from "./errors.ts";
import { closestName } from "./arguments/did-you-mean.ts";

/** Names of Hugging Face's lr_scheduler_type that are implemented. */
export type SchedulerType =
  | "linear"
  | "cosine"
  | "cosine_with_restarts"
  | "polynomial"
  | "constant"
  | "constant_with_warmup"
  | "inverse_sqrt"
  | "cosine_with_min_lr"
  | "warmup_stable_decay";

export interface ScheduleOptions {
  readonly type: SchedulerType;
  /** Peak learning rate. */
  readonly learningRate: number;
  readonly warmupSteps: number;
  /** Optimiser steps of the whole run; `undefined` only for schedules that do not end. */
  readonly totalSteps: number | undefined;
  /** lr_scheduler_kwargs, with Hugging Face's names. */
  readonly settings?: Readonly<Record<string, unknown>>;
}

/**
 * The learning rate of optimiser step `step`, counted from 0. A pure function of the step, so a resumed run needs no state of it.
 * Values are those of `transformers.get_scheduler`, in float64.
 */
export type Schedule = (step: number) => number;

/** @throws ArgumentError for a setting that the schedule does not have, or one of the wrong kind */
export function createSchedule(options: ScheduleOptions): Schedule {
  const factor = scheduleFactors[options.type](options, new Settings(options));
  return (step) => options.learningRate * factor(step);
}

/** Warmup steps of a run: `warmup_steps` below 1, or else `warmup_ratio`, is a fraction of all steps, rounded up. */
export function countWarmupSteps(
  { warmupSteps, warmupRatio }: { readonly warmupSteps: number; readonly warmupRatio: number },
  totalSteps: number,
): number {
  if (warmupSteps >= 1) return warmupSteps;
  return Math.ceil((warmupSteps > 0 ? warmupSteps : warmupRatio) * totalSteps);
}

type Factor = (step: number) => number;

const scheduleFactors: Readonly<Record<SchedulerType, (options: ScheduleOptions, settings: Settings) => Factor>> = {
  linear: (options, settings) => {
    settings.allow([]);
    return afterWarmup(options, (_, step, total) =>
      Math.max(0, (total - step) / Math.max(1, total - options.warmupSteps)),
    );
  },
  cosine: (options, settings) => {
    settings.allow(["num_cycles"]);
    const cycles = settings.number("num_cycles", 0.5);
    return afterWarmup(options, (progress) => Math.max(0, halfCosine(cycles, progress)));
  },
  cosine_with_restarts: (options, settings) => {
    settings.allow(["num_cycles"]);
    const cycles = settings.number("num_cycles", 1);
    return afterWarmup(options, (progress) =>
      progress >= 1 ? 0 : Math.max(0, 0.5 * (1 + Math.cos(Math.PI * ((cycles * progress) % 1)))),
    );
  },
  polynomial: (options, settings) => {
    settings.allow(["lr_end", "power"]);
    const end = settings.number("lr_end", 1e-7);
    const power = settings.number("power", 1);
    if (end >= options.learningRate) {
      throw new ArgumentError(
        `lr_scheduler_kwargs: lr_end ${end} must be below learning_rate ${options.learningRate}.`,
      );
    }
    return afterWarmup(options, (_, step, total) => {
      if (step > total) return end / options.learningRate;
      const remaining = 1 - (step - options.warmupSteps) / (total - options.warmupSteps);
      return ((options.learningRate - end) * remaining ** power + end) / options.learningRate;
    });
  },
  constant: (_, settings) => {
    settings.allow([]);
    return () => 1;
  },
  constant_with_warmup: (options, settings) => {
    settings.allow([]);
    return (step) => (step < options.warmupSteps ? linearWarmup(options, step) : 1);
  },
  inverse_sqrt: (options, settings) => {
    settings.allow(["timescale"]);
    const timescale = settings.number("timescale", options.warmupSteps || 10_000);
    const shift = timescale - options.warmupSteps;
    return (step) =>
      step < options.warmupSteps ? linearWarmup(options, step) : 1 / Math.sqrt((step + shift) / timescale);
  },
  cosine_with_min_lr: (options, settings) => {
    settings.allow(["num_cycles", "min_lr", "min_lr_rate"]);
    const cycles = settings.number("num_cycles", 0.5);
    const floor = settings.oneOf("min_lr_rate", "min_lr", (rate) => rate / options.learningRate);
    return afterWarmup(options, (progress) => Math.max(0, halfCosine(cycles, progress) * (1 - floor) + floor));
  },
  warmup_stable_decay: warmupStableDecay,
};

/** Linear warmup to 1, a plateau, a decay to `min_lr_ratio`. Warmup starts at `min_lr_ratio` too, as in Transformers. */
function warmupStableDecay(options: ScheduleOptions, settings: Settings): Factor {
  settings.allow(["num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles"]);
  const decaySteps = settings.number("num_decay_steps");
  const warmupType = settings.choice("warmup_type", ["linear", "cosine", "1-sqrt"], "linear");
  const decayType = settings.choice("decay_type", ["linear", "cosine", "1-sqrt"], "cosine");
  const floor = settings.number("min_lr_ratio", 0);
  const cycles = settings.number("num_cycles", 0.5);
  const { warmupSteps, totalSteps } = options;
  const stableSteps = settings.number(
    "num_stable_steps",
    totalSteps === undefined ? undefined : totalSteps - warmupSteps - decaySteps,
  );
  const above = (factor: number) => Math.max(0, factor * (1 - floor) + floor);
  const rise = {
    linear: (progress: number) => progress,
    cosine: (progress: number) => 0.5 * (1 - Math.cos(Math.PI * progress)),
    "1-sqrt": (progress: number) => 1 - Math.sqrt(1 - progress),
  }[warmupType];
  const fall = {
    linear: (progress: number) => 1 - progress,
    cosine: (progress: number) => halfCosine(cycles, progress),
    "1-sqrt": (progress: number) => 1 - Math.sqrt(progress),
  }[decayType];
  return (step) => {
    if (step < warmupSteps) return above(rise(step / Math.max(1, warmupSteps)));
    if (step < warmupSteps + stableSteps) return 1;
    const decayed = step - warmupSteps - stableSteps;
    return decayed < decaySteps ? above(fall(decayed / Math.max(1, decaySteps))) : floor;
  };
}

function linearWarmup(options: ScheduleOptions, step: number): number {
  return step / Math.max(1, options.warmupSteps);
}

/** `body` gets the progress after warmup (0 at its end, 1 at the end of the run), the step and the number of all steps. */
function afterWarmup(
  options: ScheduleOptions,
  body: (progress: number, step: number, total: number) => number,
): Factor {
  const { totalSteps, warmupSteps, type } = options;
  if (totalSteps === undefined)
    throw new ArgumentError(`lr_scheduler_type ${type} needs the number of steps of the run.`);
  const span = Math.max(1, totalSteps - warmupSteps);
  return (step) =>
    step < warmupSteps ? linearWarmup(options, step) : body((step - warmupSteps) / span, step, totalSteps);
}

function halfCosine(cycles: number, progress: number): number {
  return 0.5 * (1 + Math.cos(Math.PI * cycles * 2 * progress));
}

/** Typed access to lr_scheduler_kwargs. */
class Settings {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #type: SchedulerType;

  constructor(options: ScheduleOptions) {
    this.#values = options.settings ?? {};
    this.#type = options.type;
  }

  allow(names: readonly string[]): void {
    for (const key of Object.keys(this.#values)) {
      if (names.includes(key)) continue;
      const near = closestName(key, names);
      const known = names.length === 0 ? "none" : names.join(", ");
      throw this.#error(
        `has no setting ${key}; expected ${known}.${near === undefined ? "" : ` Did you mean ${near}?`}`,
      );
    }
  }

  number(name: string, fallback?: number): number {
    const value = this.#values[name] ?? fallback;
    if (value === undefined) throw this.#error(`needs the setting ${name}.`);
    if (typeof value !== "number" || !Number.isFinite(value))
      throw this.#error(`${name} must be a number, found ${JSON.stringify(value)}.`);
    return value;
  }

  choice<const Choice extends string>(name: string, choices: readonly Choice[], fallback: Choice): Choice {
    const value = this.#values[name] ?? fallback;
    const chosen = choices.find((choice) => choice === value);
    if (chosen === undefined)
      throw this.#error(`${name} must be one of ${choices.join(", ")}, found ${JSON.stringify(value)}.`);
    return chosen;
  }

  /** Exactly one of two names; the second is converted to the meaning of the first. */
  oneOf(first: string, second: string, convert: (value: number) => number): number {
    const has = [first, second].filter((name) => (this.#values[name] ?? undefined) !== undefined);
    if (has.length !== 1)
      throw this.#error(`needs one of ${first} and ${second}, found ${has.length === 0 ? "none" : "both"}.`);
    return has[0] === first ? this.number(first) : convert(this.number(second));
  }

  #error(text: string): ArgumentError {
    return new ArgumentError(`lr_scheduler_kwargs: ${this.#type} ${text}`);
  }
}
