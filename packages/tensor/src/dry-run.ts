import { TensorError } from "./errors.ts";
import { native } from "./native.ts";
import { defaultGenerator } from "./random.ts";

const state = { isRunning: false };

/**
 * Runs `body` without computing: every operation checks its operands and allocates its result as ever, but writes no floating value, so
 * that the system gives it no memory. What `memoryStats` says inside, beyond what was live before, is what the same computation takes.
 *
 * Integers are computed, because shapes depend on them; where they would follow from floats they are spread evenly, as a router that uses
 * all experts alike. Floats that are read back are arbitrary. Tensors made inside are useless afterwards: dispose of them. Nothing else
 * may compute before the promise settles.
 */
export async function dryRun<T>(body: () => T | Promise<T>): Promise<T> {
  if (state.isRunning) throw new TensorError("dryRun: a dry run is under way already");
  state.isRunning = true;
  const random = defaultGenerator.state();
  native.setDryRun(true);
  try {
    return await body();
  } finally {
    native.setDryRun(false);
    defaultGenerator.setState(random);
    state.isRunning = false;
  }
}
