import { cat, scope, type Tensor } from "@fms-accel/tensor";

interface Pending {
  readonly tensor: Tensor;
  values: Float32Array | undefined;
}

/** Numbers on a device. */
export interface DeferredValues {
  /** Whether `read` would wait for the device. */
  readonly isPending: boolean;
  read(): Float32Array;
}

/** Numbers of steps that stay on the device until somebody looks at one: then all are read, and the host waits once. */
export class PendingValues {
  #waiting: Pending[] = [];

  /**
   * Takes over a float32 tensor `[n]`.
   *
   * @returns its numbers; NaN once they are forgotten
   */
  add(tensor: Tensor): DeferredValues {
    const pending: Pending = { tensor, values: undefined };
    this.#waiting.push(pending);
    return {
      get isPending() {
        return pending.values === undefined;
      },
      read: () => {
        if (pending.values === undefined) this.#read();
        return pending.values ?? new Float32Array(tensor.numel).fill(Number.NaN);
      },
    };
  }

  /** Forgets what nobody has looked at. */
  dispose(): void {
    for (const { tensor } of this.#waiting.splice(0)) tensor.dispose();
  }

  #read(): void {
    if (this.#waiting.length === 0) return;
    const all = scope(() =>
      cat(
        this.#waiting.map(({ tensor }) => tensor),
        0,
      ).toFloat32Array(),
    );
    let start = 0;
    for (const pending of this.#waiting) {
      const end = start + pending.tensor.numel;
      pending.values = all.slice(start, end);
      start = end;
    }
    this.dispose();
  }
}
