/** Whether operations are recorded on the tape. */
export const gradMode: {
  enabled: boolean;
  /** Set when an operation on a differentiable tensor was not recorded; `checkpoint` learns from it that it must be. */
  skippedDifferentiable: boolean;
} = { enabled: true, skippedDifferentiable: false };

export function isGradEnabled(): boolean {
  return gradMode.enabled;
}

/** @internal */
export function withGradMode<T>(enabled: boolean, body: () => T): T {
  const before = gradMode.enabled;
  gradMode.enabled = enabled;
  try {
    return body();
  } finally {
    gradMode.enabled = before;
  }
}

/** Runs `body` without recording: no gradients, less memory. `body` must be synchronous. */
export function noGrad<T>(body: () => T): T {
  return withGradMode(false, body);
}
