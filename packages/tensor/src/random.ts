import { recordOperation } from "./autograd/tape.ts";
import { isCapturing } from "./capture-state.ts";
import { empty, type TensorOptions } from "./create.ts";
import { TensorError } from "./errors.ts";
import { native } from "./native.ts";
import { Tensor } from "./tensor.ts";

/** Where a generator stands: the key, and the number of 128-bit blocks that were used. */
export interface GeneratorState {
  seed: bigint;
  offset: bigint;
}

/**
 * A counter-based random generator, Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
 * Element i of a draw depends on (seed, offset, i) only, so results are the same for every number of threads and on
 * every device, and a state is two numbers.
 */
export class Generator {
  #seed = 0n;
  #offset = 0n;

  /** Throws TensorError unless `seed` is an integer from 0 to 2^64 - 1. */
  constructor(seed: number | bigint) {
    this.manualSeed(seed);
  }
  /** Starts the sequence of `seed` from its beginning. */
  manualSeed(seed: number | bigint): this {
    if (typeof seed === "number" && !Number.isSafeInteger(seed))
      throw new TensorError(`seed: expected an integer, found ${seed}`);
    this.setState({ seed: BigInt(seed), offset: 0n });
    return this;
  }
  state(): GeneratorState {
    return { seed: this.#seed, offset: this.#offset };
  }
  setState(state: GeneratorState): void {
    const limit = 1n << 64n;
    if (state.seed < 0n || state.seed >= limit || state.offset < 0n || state.offset >= limit) {
      throw new TensorError(`generator state (${state.seed}, ${state.offset}) is outside of 0 to 2^64 - 1`);
    }
    this.#seed = state.seed;
    this.#offset = state.offset;
  }
  /** @internal Reserves the blocks for `elements` random words; returns the state to draw them from. */
  advance(elements: number): GeneratorState {
    if (isCapturing() && this !== defaultGenerator) {
      throw new TensorError("random numbers of a CUDA graph come from the default generator, found another one");
    }
    const state = this.state();
    this.#offset += BigInt(Math.ceil(elements / 4));
    return state;
  }
}

/** The generator that ops use when none is given. */
export const defaultGenerator: Generator = new Generator(0);

/** Seeds the default generator. */
export function manualSeed(seed: number | bigint): void {
  defaultGenerator.manualSeed(seed);
}

// ---- Draws: native side in native/cpu/random.cc --------------------------------------------------------------------------------

export interface RandomOptions extends TensorOptions {
  /** Default: `defaultGenerator`. */
  generator?: Generator;
}

/** Fills `target` (floating) with uniform numbers from [low, high), in place and unrecorded. Returns `target`. */
export function uniform_<T extends Tensor>(
  target: T,
  low: number = 0,
  high: number = 1,
  generator: Generator = defaultGenerator,
): T {
  const { seed, offset } = generator.advance(target.numel);
  native.uniformInto(target.handle, low, high, seed, offset);
  return target;
}

/** Fills `target` (floating) with normal numbers, in place and unrecorded. Returns `target`. */
export function normal_<T extends Tensor>(
  target: T,
  mean: number = 0,
  std: number = 1,
  generator: Generator = defaultGenerator,
): T {
  const { seed, offset } = generator.advance(target.numel);
  native.normalInto(target.handle, mean, std, seed, offset);
  return target;
}

function drawn(
  shape: readonly number[],
  options: RandomOptions,
  draw: (target: Tensor, generator: Generator) => Tensor,
): Tensor {
  const { generator = defaultGenerator, requiresGrad = false, ...rest } = options;
  const result = draw(empty(shape, rest), generator);
  result.requiresGrad = requiresGrad;
  return result;
}

/** Uniform numbers from [0, 1). */
export function rand(shape: readonly number[], options: RandomOptions = {}): Tensor {
  return drawn(shape, options, (target, generator) => uniform_(target, 0, 1, generator));
}

/** Normal numbers with mean 0 and standard deviation 1. */
export function randn(shape: readonly number[], options: RandomOptions = {}): Tensor {
  return drawn(shape, options, (target, generator) => normal_(target, 0, 1, generator));
}

/**
 * x with each element set to 0 with probability `p`, and the others scaled by 1 / (1 - p). The mask is not stored: backward draws it
 * again. p = 0 gives x itself and draws nothing. Throws TensorError for a p outside of 0 to 1.
 */
export function dropout(x: Tensor, p: number, generator: Generator = defaultGenerator): Tensor {
  if (p === 0) return x;
  const { seed, offset } = generator.advance(x.numel);
  return recordOperation("dropout", new Tensor(native.dropout(x.handle, p, seed, offset)), [x], [], (g) => [
    new Tensor(native.dropout(g.handle, p, seed, offset)),
  ]);
}
