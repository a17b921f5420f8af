type HostBuffer = Float32Array | Float64Array | Int32Array | Uint8Array;

/** As much of a tensor as a reduction takes. */
interface TensorBuffer {
  toFloat32Array(): Float32Array;
  copyFrom(values: Float32Array): unknown;
}

/** What a rank gives to a collective. */
export type RankBuffer = TensorBuffer | HostBuffer;

export type Reduction = "sum" | "max" | "min";

/** A communicator, as the trainer wants it. */
export interface MeetingRank {
  readonly rank: number;
  readonly size: number;
  allReduce(buffer: RankBuffer, operation?: Reduction): Promise<void>;
  broadcast(): Promise<void>;
  barrier(): Promise<void>;
  close(): Promise<void>;
}

/** The numbers of a buffer; all of the types above fit into float64. */
export function readBuffer(buffer: RankBuffer): Float64Array {
  return Float64Array.from("toFloat32Array" in buffer ? buffer.toFloat32Array() : buffer);
}

export function writeBuffer(buffer: RankBuffer, values: Float64Array): void {
  if ("toFloat32Array" in buffer) buffer.copyFrom(Float32Array.from(values));
  else buffer.set(values);
}

const reductions: Readonly<Record<Reduction, (a: number, b: number) => number>> = {
  sum: (a, b) => a + b,
  max: Math.max,
  min: Math.min,
};

/** Combines what the ranks gave, in their order. */
export function reduceValues(values: readonly Float64Array[], operation: Reduction): Float64Array {
  const combine = reductions[operation];
  const [first = new Float64Array(), ...rest] = values;
  return first.map((start, index) => rest.reduce((result, one) => combine(result, one[index] ?? Number.NaN), start));
}
