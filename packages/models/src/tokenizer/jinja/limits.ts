import { JinjaError } from "./errors.ts";

/**
 * Bounds on one rendering: templates come with checkpoints and are not trusted. The numbers are far above what a
 * conversation needs (a thousand turns take about a million steps), and low enough to end within seconds.
 */
export interface JinjaLimits {
  /** Expressions evaluated and statements executed; long strings and lists that are built count as several. */
  readonly steps: number;
  /** UTF-16 units of any string that the template builds, its output included. */
  readonly textLength: number;
  /** Items of any list that the template builds. */
  readonly listLength: number;
  /** Nesting of calls, loops, blocks and expressions. */
  readonly depth: number;
}

export const DEFAULT_LIMITS: JinjaLimits = {
  steps: 10_000_000,
  textLength: 1 << 27,
  listLength: 1 << 22,
  depth: 400,
};

/** Counts one rendering's work against its limits. */
export class Budget {
  readonly limits: JinjaLimits;
  #steps = 0;
  #depth = 0;

  constructor(limits: JinjaLimits) {
    this.limits = limits;
  }

  step(count = 1): void {
    this.#steps += count;
    if (this.#steps > this.limits.steps) {
      throw new JinjaError(
        "LimitError",
        `the template takes more than ${this.limits.steps} steps; it may loop for ever`,
      );
    }
  }

  /** Charges a string that is about to be built or searched; checked before it is allocated. */
  text(length: number): void {
    if (length > this.limits.textLength) {
      throw new JinjaError(
        "LimitError",
        `the template builds a text of more than ${this.limits.textLength} characters`,
      );
    }
    this.step(length >> 6);
  }

  list(length: number): void {
    if (length > this.limits.listLength) {
      throw new JinjaError("LimitError", `the template builds a list of more than ${this.limits.listLength} items`);
    }
    this.step(length >> 3);
  }

  enter(): void {
    if (++this.#depth > this.limits.depth) {
      throw new JinjaError(
        "LimitError",
        `the template nests deeper than ${this.limits.depth} levels; it may call itself for ever`,
      );
    }
  }

  leave(): void {
    this.#depth--;
  }
}
