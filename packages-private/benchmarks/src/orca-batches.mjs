// Batches of Orca-like lengths, padded and packed, for the benchmark of padding-free multipack training.
import { readFileSync } from "node:fs";
import { MultipackBatchSampler } from "@fms-accel/attention-and-distributed-packing";

const fixture = new URL("../../fixtures/data/orca-like.json", import.meta.url);

/** The first `samples` lengths of the Orca-like set, in batches of lengths: as they come, and packed to the same mean number of tokens. */
export async function orcaBatches(samples, batchSize) {
  const { lists } = JSON.parse(readFileSync(fixture, "utf8"));
  const lengths = Int32Array.from(lists["orca-math-8000"].lengths.slice(0, samples));
  const padded = [];
  for (let at = 0; at < lengths.length; at += batchSize) padded.push([...lengths.subarray(at, at + batchSize)]);
  const mean = lengths.reduce((sum, length) => sum + length, 0) / lengths.length;
  const sampler = new MultipackBatchSampler(lengths, {
    capacity: Math.max(Math.ceil(batchSize * mean), Math.max(...lengths)),
    rows: undefined,
    measure: "tokens",
    position: { rank: 0, worldSize: 1 },
    seed: 42,
  });
  await sampler.prepareEpoch(0);
  const packed = Array.from({ length: sampler.batchCount(0) }, (_, index) =>
    Array.from(sampler.batch(0, index), (sample) => lengths[sample]),
  );
  return { padded, packed };
}
