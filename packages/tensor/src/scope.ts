/**
 * Memory by scopes: a scope frees every tensor that was created inside, unless it is part of what the scope returns, was
 * kept, or is needed by the tape.
 */
import { TensorError } from "./errors.ts";
import { releaseTogether } from "./release.ts";
import type { Tensor } from "./tensor.ts";

// Scopes are synchronous, so one stack for the JavaScript thread is enough.
const scopes: Set<Tensor>[] = [];

/** @internal A new tensor belongs to the innermost scope. */
export function track(tensor: Tensor): void {
  const current = scopes.at(-1);
  if (current === undefined) tensor.registerForCollection();
  else current.add(tensor);
}

/** @internal Takes a tensor out of the scope that owns it; false when none does. */
export function untrack(tensor: Tensor): boolean {
  for (let i = scopes.length - 1; i >= 0; i--) if (scopes[i]?.delete(tensor) === true) return true;
  return false;
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

// The tensors in a returned value: itself, or inside arrays, maps and plain objects.
function* tensorsIn(value: unknown, candidates: ReadonlySet<Tensor>): Iterable<Tensor> {
  if (candidates.has(value as Tensor)) yield value as Tensor;
  else if (Array.isArray(value)) for (const element of value) yield* tensorsIn(element, candidates);
  else if (value instanceof Map) for (const element of value.values()) yield* tensorsIn(element, candidates);
  else if (isPlainObject(value)) for (const element of Object.values(value)) yield* tensorsIn(element, candidates);
}

function releaseOwner(tensor: Tensor): void {
  tensor.releaseOwner();
}

/**
 * Runs `body` and frees the tensors that it created. Tensors in the returned value (also inside arrays, maps and plain
 * objects) move to the enclosing scope. `body` must be synchronous. Throws TensorError when it returns a promise.
 */
export function scope<T>(body: () => T): T {
  const own = new Set<Tensor>();
  scopes.push(own);
  let result: T;
  try {
    result = body();
    if (result instanceof Promise)
      throw new TensorError("scope: the body must be synchronous, but it returned a promise");
    const outer = scopes.at(-2);
    for (const tensor of own.has(result as Tensor) ? [result as Tensor] : tensorsIn(result, own)) {
      own.delete(tensor);
      if (outer === undefined) tensor.registerForCollection();
      else outer.add(tensor);
    }
  } finally {
    scopes.pop();
    releaseTogether(() => {
      own.forEach(releaseOwner);
    });
  }
  return result;
}

/** @internal Runs `body` in a scope; the tensors of the scope that it returns are kept, and listed. */
export function scopeKeeping<T>(body: () => T): { result: T; kept: ReadonlySet<Tensor> } {
  let kept: ReadonlySet<Tensor> = new Set();
  const result = scope(() => {
    const value = body();
    kept = new Set(tensorsIn(value, scopes.at(-1) ?? kept));
    return value;
  });
  for (const tensor of kept) keep(tensor);
  return { result, kept };
}

/** Takes a tensor out of every scope: it lives until it is disposed, or until JavaScript forgets it. */
export function keep<T extends Tensor>(tensor: T): T {
  untrack(tensor);
  tensor.registerForCollection();
  return tensor;
}
