import { readBuffer, reduceValues, writeBuffer, type MeetingRank, type RankBuffer } from "./rank-buffers.ts";

/** Ranks of one process that wait for each other in every collective; sums are taken in the order of the ranks. */
export function meetingRanks(size: number): MeetingRank[] {
  let present: { buffer: RankBuffer; rank: number; leave: () => void }[] = [];
  const meet = (rank: number, buffer: RankBuffer, combine: (buffers: RankBuffer[]) => void): Promise<void> =>
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
    allReduce: (buffer, operation = "sum") =>
      meet(rank, buffer, (buffers) => {
        const result = reduceValues(buffers.map(readBuffer), operation);
        for (const one of buffers) writeBuffer(one, result);
      }),
    broadcast: () => Promise.reject(new Error("not needed here")),
    barrier: () => meet(rank, new Uint8Array(), () => {}),
    close: () => Promise.resolve(),
  }));
}
