// The share of time in which the GPU works, from the trace of `nsys stats --report cuda_gpu_trace --format csv` on standard input. The first half
// of the trace is left out: loading and the first steps.
//   … | node scripts/gpu/busy-share.mjs SHAPE
import { readFileSync } from "node:fs";

const intervals = readFileSync(0, "utf8")
  .split("\n")
  .map((line) => line.split(",", 2).map(Number))
  .filter(([start, duration]) => start > 0 && duration >= 0)
  .toSorted(([a], [b]) => a - b);
const begin = intervals[0]?.[0] ?? 0;
const end = Math.max(...intervals.map(([start, duration]) => start + duration));
const middle = (begin + end) / 2;
let busy = 0;
let reached = middle;
for (const [start, duration] of intervals) {
  const from = Math.max(start, reached);
  busy += Math.max(0, start + duration - from);
  reached = Math.max(reached, start + duration);
}
console.log(
  JSON.stringify({
    shape: process.argv[2],
    gpuBusyShare: Number((busy / (end - middle)).toFixed(3)),
    intervals: intervals.length,
  }),
);
