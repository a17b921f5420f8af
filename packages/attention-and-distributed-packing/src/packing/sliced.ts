import { setImmediate } from "node:timers/promises";

/** Long work that yields every few tens of thousands of operations, so that whoever runs it decides who else gets a turn. */
export type Sliced<Result> = Generator<void, Result>;

/** Items between two yields of `Sliced` work. */
export const SLICE_ITEMS: number = 1 << 15;

/** Does the work without a break. */
export function runAtOnce<Result>(work: Sliced<Result>): Result {
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
  }
}

/**
 * Does the work in slices and lets the event loop run between them. The result does not depend on where the slices end.
 *
 * @param milliseconds of a slice, about
 */
export async function runInSlices<Result>(work: Sliced<Result>, milliseconds = 8): Promise<Result> {
  let end = performance.now() + milliseconds;
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
    if (performance.now() < end) continue;
    await setImmediate();
    end = performance.now() + milliseconds;
  }
}
