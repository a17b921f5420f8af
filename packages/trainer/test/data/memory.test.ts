import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { loadDataset, preprocessDataset } from "../../src/data/index.ts";
import { TemporaryFolder } from "./fixtures.ts";

/** Size of the file: 1024 for the gigabyte. */
const MEBIBYTES = Number(process.env["FMS_ACCEL_MEMORY_TEST_MIB"] ?? 160);
/** What may be held above what was there before: buffers of a megabyte, blocks of tokens of four, an index of 20 bytes a row. */
const ALLOWED = 24 * 2 ** 20;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

function bytesHeld(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Rows of about 16 KiB in each of which few tokens are. */
function writeLargeFile(path: string): number {
  const filler = "x".repeat(16_000);
  const rows = Array.from(
    { length: 64 },
    (_, i) => `${JSON.stringify({ input_ids: [i, i + 1, i + 2], text: filler })}\n`,
  ).join("");
  const count = Math.ceil((MEBIBYTES * 2 ** 20) / rows.length);
  const descriptor = openSync(path, "w");
  for (let i = 0; i < count; i++) writeSync(descriptor, rows);
  closeSync(descriptor);
  return count * 64;
}

describe("a jsonl file larger than may be in memory", () => {
  it("is indexed, streamed, read at random and made into samples", { timeout: 600_000 }, async () => {
    using folder = new TemporaryFolder();
    const path = join(folder.path, "large.jsonl");
    const rows = writeLargeFile(path);
    const before = bytesHeld();
    let most = 0;
    const measure = (): void => {
      most = Math.max(most, bytesHeld() - before);
    };
    const dataset = await loadDataset(path);
    measure();
    expect(dataset.length).toBe(rows);
    let count = 0;
    for await (const row of dataset.rows()) {
      if ((row["text"] as string).length !== 16_000) throw new Error(`row ${count} is not as written`);
      if (++count % 1024 === 0) measure();
    }
    expect(count).toBe(rows);
    for (let i = 0; i < 500; i++) {
      const row = await dataset.row((i * 7919) % rows);
      expect(row["input_ids"]).toEqual([0, 1, 2].map((j) => (((i * 7919) % rows) % 64) + j));
      if (i % 100 === 0) measure();
    }
    using samples = await preprocessDataset(dataset, undefined, {
      onProgress: (done) => (done % 1024 === 0 ? measure() : undefined),
    });
    measure();
    expect(samples.length).toBe(rows);
    expect(most).toBeLessThan(ALLOWED);
    expect(ALLOWED).toBeLessThan((MEBIBYTES * 2 ** 20) / 5);
  });
});
