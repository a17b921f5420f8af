import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  recoverDirectories,
  removeDirectoryAtomically,
  writeDirectoryAtomically,
} from "../../src/checkpoint/directory.ts";

let parent: string;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "fms-accel-"));
});
afterEach(() => {
  rmSync(parent, { recursive: true, force: true });
});

function write(name: string, text: string): Promise<void> {
  return writeDirectoryAtomically(join(parent, name), async (directory) => {
    mkdirSync(join(directory, "inner"));
    writeFileSync(join(directory, "inner", "file"), text);
  });
}

function read(name: string): string {
  return readFileSync(join(parent, name, "inner", "file"), "utf8");
}

describe("a directory written atomically", () => {
  it("appears whole, and replaces an older one", async () => {
    await write("checkpoint-1", "old");
    await write("checkpoint-1", "new");
    expect(read("checkpoint-1")).toBe("new");
    expect(readdirSync(parent)).toEqual(["checkpoint-1"]);
  });

  it("leaves the older one alone when writing fails", async () => {
    await write("checkpoint-1", "old");
    const failing = writeDirectoryAtomically(join(parent, "checkpoint-1"), async (directory) => {
      writeFileSync(join(directory, "half"), "");
      throw new Error("disk full");
    });
    await expect(failing).rejects.toThrow("disk full");
    expect(read("checkpoint-1")).toBe("old");
    expect(readdirSync(parent)).toEqual(["checkpoint-1"]);
  });

  it("is removed with everything in it", async () => {
    await write("checkpoint-1", "x");
    removeDirectoryAtomically(join(parent, "checkpoint-1"));
    expect(readdirSync(parent)).toEqual([]);
  });
});

describe("recovery after a crash", () => {
  it("removes what was half written or half deleted, and nothing else", async () => {
    await write("checkpoint-2", "kept");
    for (const name of [
      ".checkpoint-3.tmp",
      ".checkpoint-1.deleted",
      ".checkpoint-2.replaced",
      ".checkpoint-x.tmp",
      "runs",
    ]) {
      mkdirSync(join(parent, name));
    }
    expect(recoverDirectories(parent)).toEqual({
      removed: [".checkpoint-1.deleted", ".checkpoint-2.replaced", ".checkpoint-3.tmp"],
      restored: [],
    });
    expect(readdirSync(parent).sort()).toEqual([".checkpoint-x.tmp", "checkpoint-2", "runs"]);
    expect(read("checkpoint-2")).toBe("kept");
  });

  it("gives a checkpoint its name back that was about to be replaced", async () => {
    await write("checkpoint-4", "only copy");
    const { renameSync } = await import("node:fs");
    renameSync(join(parent, "checkpoint-4"), join(parent, ".checkpoint-4.replaced"));
    mkdirSync(join(parent, ".checkpoint-4.tmp"));
    expect(recoverDirectories(parent)).toEqual({ removed: [".checkpoint-4.tmp"], restored: ["checkpoint-4"] });
    expect(read("checkpoint-4")).toBe("only copy");
  });

  it("finds nothing in a folder that does not exist", () => {
    expect(recoverDirectories(join(parent, "none"))).toEqual({ removed: [], restored: [] });
    expect(existsSync(join(parent, "none"))).toBe(false);
  });
});
