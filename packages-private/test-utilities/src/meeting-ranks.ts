type HostBuffer = Float32Array | Float64Array | Int32Array | Uint8Array;

/** As much of a tensor as a sum takes. */
interface TensorBuffer {
  toFloat32Array(): Float32Array;
  copyFrom(values: Float32Array): unknown;
}

type Buffer = TensorBuffer | HostBuffer;

type Reduction = "sum" | "max" | "min";

/** A communicator, as the trainer wants it. */
export interface MeetingRank {
  readonly rank: number;
  readonly size: number;
  allReduce(buffer: Buffer, operation?: Reduction): Promise<void>;
  broadcast(): Promise<void>;
  barrier(): Promise<void>;
  close(): Promise<void>;
}

/** Ranks of one process that wait for each other in every collective; sums are taken in the order of the ranks. */
export function meetingRanks(size: number): MeetingRank[] {
  let present: { buffer: Buffer; rank: number; leave: () => void }[] = [];
  const meet = (rank: number, buffer: Buffer, combine: (buffers: Buffer[]) => void): Promise<void> =>
    new Promise((leave) => {
      present.push({ buffer, rank, leave });
      if (present.length < size) return;
      const all = present.sort((a, b) => a.rank - b.rank);
      present = [];
      combine(all.map((one) => one.buffer));
      for (const one of all) one.leave();
    });
  return Array.from({ length: size }, (_, rank) => ({
    rank,
    size,
    allReduce: (buffer, operation = "sum") => meet(rank, buffer, (buffers) => reduceAll(buffers, operation)),
    broadcast: () => Promise.reject(new Error("not needed here")),
    barrier: () => meet(rank, new Uint8Array(), () => {}),
    close: () => Promise.resolve(),
  }));
}

const reductions: Readonly<Record<Reduction, (values: readonly number[]) => number>> = {
  sum: (values) => values.reduce((total, one) => total + one, 0),
  max: (values) => Math.max(...values),
  min: (values) => Math.min(...values),
};

function reduceAll(buffers: Buffer[], operation: Reduction): void {
  const values = buffers.map((buffer) =>
    "toFloat32Array" in buffer ? buffer.toFloat32Array() : Float64Array.from(buffer),
  );
  const reduce = reductions[operation];
  const result = values[0]?.map((_, index) => reduce(values.map((one) => one[index] ?? Number.NaN)));
  if (result === undefined) return;
  for (const buffer of buffers) {
    if ("toFloat32Array" in buffer) buffer.copyFrom(Float32Array.from(result));
    else buffer.set(result);
  }
}
