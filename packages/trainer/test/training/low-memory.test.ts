/** `low_memory`: a checkpoint is loaded, trained, merged and saved without holding it twice, and the same bits come out. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type LlamaSizes, sourceRunner, temporaryDirectory, writeLargeCheckpoint } from "@fms-accel/test-utilities";
import { beforeAll, describe, expect, it } from "vitest";
import type { MemoryReport, Task } from "./low-memory-child.ts";

/** 302 MB in float32. */
const SIZES: LlamaSizes = {
  vocab_size: 8192,
  hidden_size: 1024,
  intermediate_size: 4096,
  num_hidden_layers: 4,
  num_attention_heads: 8,
  num_key_value_heads: 8,
  head_dim: 128,
};
/** What else may be taken: activations, buffers of files, the garbage collector's delay. */
const SLACK = 100e6;

const local = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

interface Outcome {
  /** The most memory taken beyond what the process began with: before the first step, and at all. */
  readonly loaded: number;
  readonly peak: number;
  /** Digests of the files that were saved. */
  readonly saved: ReadonlyMap<string, string>;
}

function digests(directory: string): Map<string, string> {
  const files = readdirSync(directory, { recursive: true, encoding: "utf8" }).filter((name) =>
    /\.safetensors$|config\.json$/.test(name),
  );
  return new Map(
    files.sort().map((file) => [
      file,
      createHash("sha256")
        .update(readFileSync(join(directory, file)))
        .digest("hex"),
    ]),
  );
}

async function outcomeOf(task: Task, checkpoint: string, lowMemory: boolean): Promise<Outcome> {
  const output = temporaryDirectory();
  const words = [sourceRunner, local("low-memory-child.ts"), task, checkpoint, output, String(lowMemory)];
  const { stdout } = await promisify(execFile)(process.execPath, words);
  const { before, loaded, peak } = JSON.parse(stdout) as MemoryReport;
  const saved = digests(output);
  rmSync(output, { recursive: true });
  return { loaded: loaded - before, peak: peak - before, saved };
}

describe.runIf(process.platform === "linux")("low_memory", { timeout: 120_000 }, () => {
  const checkpoint = temporaryDirectory();
  let size = 0;
  beforeAll(() => {
    size = writeLargeCheckpoint(checkpoint, { sizes: SIZES, dtype: "float32", values: "waves" });
  });

  /**
   * In sizes of the checkpoint: `loaded` and `most` are held with it, before the first step and at all; without it at least `saves` more, before
   * the first step. Training's own peak comes later, when the file's pages are gone in any case.
   */
  it.each([
    { task: "lora", loaded: 0.5, most: 0.5, saves: 0.9 }, // the base in bfloat16; else the file
    { task: "full", loaded: 1, most: 4, saves: 0.9 }, // weights, gradients and two averages; else the file
    { task: "merge", loaded: 0, most: 0.1, saves: 1.4 }, // a few weights; else all merged ones, and the file
  ] as const)("$task", async ({ task, loaded, most, saves }) => {
    const plain = await outcomeOf(task, checkpoint, false);
    const low = await outcomeOf(task, checkpoint, true);
    expect(low.saved.size).toBeGreaterThan(1);
    expect(low.saved).toEqual(plain.saved);
    expect(low.loaded).toBeLessThan(loaded * size + SLACK);
    expect(low.peak).toBeLessThan(most * size + SLACK);
    expect(plain.loaded - low.loaded).toBeGreaterThan(saves * size);
  });
});
