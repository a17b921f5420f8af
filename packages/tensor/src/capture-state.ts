/** Which graph is being recorded, for operations whose numbers differ from one replay to the next. */

import { type Device, deviceCode } from "./device.ts";
import { dtypeCode } from "./dtype.ts";
import { native } from "./native.ts";
import { Tensor } from "./tensor.ts";

/** What happens around each replay of a graph. */
export interface ReplayHook {
  /** Writes what this replay needs to memory that the graph reads. */
  before?(): void;
  /** Called once the replay is enqueued. */
  after?(): void;
  /** Called when the graph is disposed, or was not made. */
  end?(): void;
}

const state: { hooks: ReplayHook[] | undefined } = { hooks: undefined };

/** @internal Whether operations are recorded for a graph rather than done. */
export function isCapturing(): boolean {
  return state.hooks !== undefined;
}

/** @internal To be called while a graph is recorded. */
export function onReplay(hook: ReplayHook): void {
  state.hooks?.push(hook);
}

/**
 * @internal A float32 tensor that a hook writes before a replay. Memory of the graph would not do: kernels that run earlier in it may use
 * the same.
 */
export function memoryForReplays(shape: readonly number[], device: Device): Tensor {
  return new Tensor(native.emptyOutsideOfGraphs(shape, dtypeCode("float32"), deviceCode(device)));
}

/** @internal Runs `body` as the recording of a graph; `hooks` receives what `onReplay` is given. */
export function recordingHooks<T>(hooks: ReplayHook[], body: () => T): T {
  state.hooks = hooks;
  try {
    return body();
  } finally {
    state.hooks = undefined;
  }
}
