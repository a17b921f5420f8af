/**
 * What happens to the logits of the next token before it is chosen, as Hugging Face's processors and warpers of the same names do it.
 * All work in place on one row of logits; a filtered token gets -Infinity.
 */

/** Divides positive and multiplies negative logits of tokens that occurred before (Keskar et al., 2019, arXiv:1909.05858). */
export function applyRepetitionPenalty(logits: Float32Array, seen: Iterable<number>, penalty: number): void {
  for (const token of new Set(seen)) {
    const logit = logits[token];
    if (logit !== undefined) {
      logits[token] = logit < 0 ? logit * penalty : logit / penalty;
    }
  }
}

/** Divides all logits. */
export function applyTemperature(logits: Float32Array, temperature: number): void {
  for (let token = 0; token < logits.length; token++) {
    logits[token] = (logits[token] ?? 0) / temperature;
  }
}

/** Keeps the k largest logits, and all that are equal to the k-th. */
export function keepTopK(logits: Float32Array, k: number): void {
  if (k >= logits.length) {
    return;
  }
  const threshold = largest(logits, k);
  for (let token = 0; token < logits.length; token++) {
    if ((logits[token] ?? 0) < threshold) {
      logits[token] = -Infinity;
    }
  }
}

/**
 * Nucleus sampling (Holtzman et al., 2020, arXiv:1904.09751): drops the least probable tokens as long as the dropped ones
 * together have a probability of at most 1 - p; the most probable one always stays. Of equal tokens the later ones are
 * dropped first.
 */
export function keepTopP(logits: Float32Array, p: number): void {
  const weights = softmax(logits);
  const ascending = weights.toSorted();
  let dropped = 0;
  for (let below = 0; dropped < ascending.length - 1; dropped++) {
    below += ascending[dropped] ?? 0;
    if (below > 1 - p) {
      break;
    }
  }
  // The weakest weight that stays may occur several times, of which only some are dropped.
  const weakest = ascending[dropped] ?? 0;
  let equalToDrop = dropped - firstAtLeast(ascending, weakest);
  for (let token = logits.length - 1; token >= 0; token--) {
    const weight = weights[token] ?? 0;
    if (weight < weakest || (weight === weakest && equalToDrop-- > 0)) {
      logits[token] = -Infinity;
    }
  }
}

/** Drops tokens whose probability is below `minP` times that of the most probable one (Nguyen et al., 2024, arXiv:2407.01082). */
export function keepMinP(logits: Float32Array, minP: number): void {
  const weights = softmax(logits);
  const threshold = minP * weights.reduce((best, weight) => Math.max(best, weight), 0);
  for (let token = 0; token < logits.length; token++) {
    if ((weights[token] ?? 0) < threshold) {
      logits[token] = -Infinity;
    }
  }
}

/** Rules tokens out. */
export function suppress(logits: Float32Array, tokens: Iterable<number>): void {
  for (const token of tokens) {
    if (token < logits.length) {
      logits[token] = -Infinity;
    }
  }
}

/** Probabilities of one row of logits, summed in float64. A row without a finite maximum gives NaN everywhere. */
export function softmax(logits: Float32Array): Float64Array {
  let highest = -Infinity;
  for (const logit of logits) {
    highest = Math.max(highest, logit);
  }
  const weights = Float64Array.from(logits, (logit) => Math.exp(logit - highest));
  let total = 0;
  for (const weight of weights) {
    total += weight;
  }
  return weights.map((weight) => weight / total);
}

/** The k-th largest value, by a heap of the k largest so far (the smallest of them on top). */
function largest(values: Float32Array, k: number): number {
  const heap = values.slice(0, k).sort();
  for (let at = k; at < values.length; at++) {
    const value = values[at] ?? 0;
    if (value > (heap[0] ?? 0)) {
      heap[0] = value;
      siftDown(heap);
    }
  }
  return heap[0] ?? 0;
}

function siftDown(heap: Float32Array): void {
  let at = 0;
  for (;;) {
    const left = 2 * at + 1;
    const right = left + 1;
    let smallest = at;
    if (left < heap.length && (heap[left] ?? 0) < (heap[smallest] ?? 0)) {
      smallest = left;
    }
    if (right < heap.length && (heap[right] ?? 0) < (heap[smallest] ?? 0)) {
      smallest = right;
    }
    if (smallest === at) {
      return;
    }
    [heap[at], heap[smallest]] = [heap[smallest] ?? 0, heap[at] ?? 0];
    at = smallest;
  }
}

/** Index of the first of the ascending values that is not below `bound`. */
function firstAtLeast(ascending: Float64Array, bound: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ascending[middle] ?? 0) < bound) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}
