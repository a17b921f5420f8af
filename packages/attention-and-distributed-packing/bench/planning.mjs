// Seconds that planning an epoch takes, and the longest that the event loop waits meanwhile.
//   node packages/attention-and-distributed-packing/bench/planning.mjs [--samples 10000000] [--capacity 4096] [--ranks 1] [--json]
// Orca-like lengths, all that a run does between the lengths of its samples and its first batch, then the plan of the next epoch.
import { monitorEventLoopDelay } from "node:perf_hooks";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { BatchPlan, RandomSampler } from "@fms-accel/trainer";
import { createMultipackLoader } from "../dist/index.js";

const { values: options } = parseArgs({
  options: {
    samples: { type: "string", default: "10000000" },
    capacity: { type: "string", default: "4096" },
    ranks: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
  },
});
const [samples, capacity, worldSize] = [options.samples, options.capacity, options.ranks].map(Number);
const fixture = new URL("../../../packages-private/fixtures/data/orca-like.json", import.meta.url);
const recorded = JSON.parse(readFileSync(fixture, "utf8")).lists["orca-math-8000"].lengths;
const lengths = Int32Array.from({ length: samples }, (_, i) => recorded[i % recorded.length]);

async function measure(name, work) {
  await new Promise((resolve) => setTimeout(resolve, 50));
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const start = performance.now();
  const result = await work();
  const seconds = (performance.now() - start) / 1e3;
  await new Promise((resolve) => setTimeout(resolve, 5));
  delay.disable();
  const row = { name, samples, ranks: worldSize, seconds, longestDelayMs: delay.max / 1e6 };
  console.log(
    options.json
      ? JSON.stringify(row)
      : `${name}: ${seconds.toFixed(2)} s, event loop at most ${row.longestDelayMs.toFixed(1)} ms late`,
  );
  return result;
}

const plan = new BatchPlan(new RandomSampler(samples, 42), { batchSize: 8 });
const loader = await measure("first epoch", () =>
  createMultipackLoader(
    {
      samples: { length: samples, sample: () => ({ inputIds: new Int32Array(1), labels: new Int32Array(1) }) },
      lengths,
      unpacked: plan,
      batchSize: 8,
      collator: () => ({}),
      isPaddingFree: true,
      padTokenId: 0,
      position: { rank: 0, worldSize },
      seed: 42,
      say: (line) => options.json || console.log(line),
    },
    { capacity, longSamples: "truncate" },
  ),
);
await measure("next epoch", () => loader.prepareEpoch(1));
