import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { listCheckpoints, rotateCheckpoints } from "../../src/checkpoint/find.ts";
import type { LoopState } from "../../src/checkpoint/loop-state.ts";
import { CheckpointStore } from "../../src/checkpoint/store.ts";

let folder: string;
let lines: string[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "fms-accel-"));
  lines = [];
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const loopState: LoopState = {
  sequence: 0,
  data: {
    epoch: 0,
    batches: 1,
    sampleCount: 4,
    batchSize: 2,
    gradientAccumulationSteps: 1,
    samplingStrategy: "random",
    seed: 42,
    ranks: 1,
  },
  epochEnded: false,
  losses: { sinceLog: 0, stepsSinceLog: 0, total: 0, steps: 0 },
  gradNorm: null,
  learningRate: 0,
  counters: { batchesWithoutTrainableTokens: 0, stepsWithoutTrainableTokens: 0, stepsNotFinite: 0, trainableTokens: 0 },
};

function make(step: number, sequence: number): string {
  const path = join(folder, `checkpoint-${step}`);
  mkdirSync(path);
  writeFileSync(join(path, "trainer_state.json"), "{}");
  writeFileSync(join(path, "loop_state.json"), JSON.stringify({ ...loopState, sequence }));
  return path;
}

function store(): CheckpointStore {
  const made = new CheckpointStore(folder, (line) => lines.push(line));
  made.open();
  return made;
}

describe("checkpoints of a folder", () => {
  it("come in the order of writing, not of their steps", () => {
    make(100, 1);
    make(5, 2);
    make(10, 3);
    expect(listCheckpoints(folder).complete.map(({ step }) => step)).toEqual([100, 5, 10]);
    expect(store().find(true)).toBe(join(folder, "checkpoint-10"));
    expect(store().nextSequence).toBe(4);
  });

  it("are passed over with a reason when something is missing or broken", () => {
    make(1, 1);
    rmSync(join(make(2, 2), "trainer_state.json"));
    writeFileSync(join(make(3, 3), "loop_state.json"), "{");
    writeFileSync(join(make(4, 4), "loop_state.json"), JSON.stringify({ ...loopState, sequence: "four" }));
    expect(store().find(true)).toBe(join(folder, "checkpoint-1"));
    expect(lines).toHaveLength(3);
    expect(lines[0]).toContain("checkpoint-2 is passed over: trainer_state.json is missing");
    expect(lines[1]).toContain("loop_state.json: cannot be read");
    expect(lines[2]).toContain("sequence");
  });

  it("are not needed for resume_from_checkpoint true, which says so", () => {
    expect(store().find(true)).toBeUndefined();
    expect(lines.join()).toContain("has no checkpoint to resume from");
  });

  it("are mentioned when a run starts anew beside them", () => {
    make(7, 1);
    expect(store().find(null)).toBeUndefined();
    expect(lines.join()).toContain("--resume_from_checkpoint true would go on from checkpoint-7");
  });

  it("are found by path or by name; a wrong one names those that are there", () => {
    const path = make(7, 1);
    expect(store().find(path)).toBe(path);
    expect(store().find("checkpoint-7")).toBe(path);
    expect(() => store().find("checkpoint-8")).toThrow(/checkpoint-8 does not exist; .* has checkpoint-7\. Give true/);
  });
});

const names = (): string[] => readdirSync(folder).sort();

describe("rotation", () => {
  it("removes the oldest", () => {
    for (const [index, step] of [10, 20, 30, 40].entries()) make(step, index + 1);
    expect(rotateCheckpoints(folder, 2, null)).toEqual(["checkpoint-10", "checkpoint-20"]);
    expect(names()).toEqual(["checkpoint-30", "checkpoint-40"]);
  });

  it("keeps the best and the newest, even beyond the limit", () => {
    const [best] = [10, 20, 30].map((step, index) => make(step, index + 1));
    expect(rotateCheckpoints(folder, 1, best ?? null)).toEqual(["checkpoint-20"]);
    expect(names()).toEqual(["checkpoint-10", "checkpoint-30"]);
    expect(rotateCheckpoints(folder, 2, best ?? null)).toEqual([]);
  });

  it("does not touch other folders", () => {
    make(1, 1);
    make(2, 2);
    mkdirSync(join(folder, "checkpoint-best"));
    expect(rotateCheckpoints(folder, 1, null).map((path) => basename(path))).toEqual(["checkpoint-1"]);
    expect(names()).toEqual(["checkpoint-2", "checkpoint-best"]);
  });
});
