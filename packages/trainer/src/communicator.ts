import type { Tensor } from "@fms-accel/tensor";

/** What a collective works on: a contiguous tensor, or host memory. */
export type CommunicatorBuffer = Tensor | Float32Array | Float64Array | Int32Array | Uint8Array;

export type ReduceOperation = "sum" | "max" | "min";

/**
 * The ranks of a run. Every rank makes the same calls in the same order; a buffer belongs to a call until its promise settles. A trainer
 * sees only this interface: with one rank it costs nothing.
 */
export interface Communicator {
  /** This process, from 0. */
  readonly rank: number;
  /** Number of processes. */
  readonly size: number;
  /** Combines `buffer` over all ranks, in place, in an order that does not change from run to run. */
  allReduce(buffer: CommunicatorBuffer, operation?: ReduceOperation): Promise<void>;
  /** Copies `buffer` of rank `root` into that of every rank. */
  broadcast(buffer: CommunicatorBuffer, root: number): Promise<void>;
  /** Settles when every rank has called it. */
  barrier(): Promise<void>;
  /** The only clean way out of a run with several ranks; collective. */
  close(): Promise<void>;
}

/** The communicator of a run in one process: every collective is the identity. */
export const singleProcess: Communicator = {
  rank: 0,
  size: 1,
  allReduce: () => Promise.resolve(),
  broadcast: () => Promise.resolve(),
  barrier: () => Promise.resolve(),
  close: () => Promise.resolve(),
};

/** The sum of a number over all ranks. Exact for whole numbers up to 2^53. */
export async function sumOverRanks(communicator: Communicator, value: number): Promise<number> {
  if (communicator.size === 1) return value;
  const buffer = Float64Array.of(value);
  await communicator.allReduce(buffer, "sum");
  return buffer[0] ?? Number.NaN;
}
