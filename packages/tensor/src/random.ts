import { TensorError } from "./errors.ts";

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
    if (typeof seed === "number" && !Number.isSafeInteger(seed)) throw new TensorError(`seed: expected an integer, found ${seed}`);
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
