import type { CallableModule, Forward } from "./callable-module.ts";

/**
 * Lets one module compute by `forward` instead of its class's method; no other module changes. The property is not enumerable, so the
 * module's tree and state dict stay as they are.
 *
 * @returns gives the module its own forward back
 */
export function replaceForward<M extends CallableModule>(module: M, forward: Forward<M>): () => void {
  const before = Object.getOwnPropertyDescriptor(module, "forward");
  Object.defineProperty(module, "forward", { value: forward, enumerable: false, configurable: true, writable: false });
  return () => {
    if (before === undefined) Reflect.deleteProperty(module, "forward");
    else Object.defineProperty(module, "forward", before);
  };
}

/** Whether `replaceForward` has been here. */
export function hasReplacedForward(module: CallableModule): boolean {
  return Object.getOwnPropertyDescriptor(module, "forward")?.enumerable === false;
}
