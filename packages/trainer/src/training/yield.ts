/** Lets timers, signals and streams have their turn: training itself never leaves the event loop otherwise. */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
