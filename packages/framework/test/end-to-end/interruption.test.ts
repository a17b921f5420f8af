import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { output, run, start } from "./command.ts";
import { loraFlags, trainTinyBase } from "./tiny-run.ts";

const folder = mkdtempSync(join(tmpdir(), "fms-accel-interruption-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const weights = (name: string): Buffer => readFileSync(join(folder, name, "adapter_model.safetensors"));

describe("a run that is interrupted", () => {
  let base = "";
  beforeAll(async () => {
    base = await trainTinyBase(folder);
  }, 120_000);

  it("by Ctrl-C saves a checkpoint and prints the command that goes on to the very same end", async () => {
    const argv = (name: string): string[] => [
      "train",
      ...loraFlags(base, join(folder, name), { max_steps: 60, logging_steps: 1 }),
    ];
    await output(argv("whole"));

    const interrupted = start(argv("interrupted"));
    await expect.poll(interrupted.notes, { timeout: 30_000, interval: 5 }).toContain("step 5/60");
    interrupted.child.kill("SIGINT");
    const { code, notes } = await interrupted.finished;
    expect(code).toBe(130);
    expect(notes).toMatch(/Stopped after step \d+; saved /);
    expect(existsSync(join(folder, "interrupted", "adapter_model.safetensors"))).toBe(false);

    const command = /Go on with:\n {2}npx fms-accel (.*)\n/.exec(notes)?.[1]?.split(" ") ?? [];
    expect(command.slice(0, -2)).toEqual(argv("interrupted"));
    expect(command.at(-2)).toBe("--resume_from_checkpoint");
    const resumed = await run(command);
    expect(resumed.notes).toContain("Going on from");
    expect(resumed.code).toBe(0);
    expect(weights("interrupted").equals(weights("whole"))).toBe(true);
  });

  it("by Ctrl-C twice ends at once", async () => {
    // Steps of the whole data set: long enough that both signals fall into it.
    const slow = { per_device_train_batch_size: 375, max_steps: 50, logging_steps: 1 };
    const running = start(["train", ...loraFlags(base, join(folder, "twice"), slow)]);
    await expect.poll(running.notes, { timeout: 30_000, interval: 5 }).toContain("step 1/50");
    running.child.kill("SIGINT");
    setTimeout(() => running.child.kill("SIGINT"), 30);
    const { code, signal } = await running.finished;
    expect(signal === "SIGINT" || code === 130).toBe(true);
    const left = existsSync(join(folder, "twice")) ? readdirSync(join(folder, "twice")) : [];
    expect(left.filter((name) => /^checkpoint-\d+$/.test(name))).toEqual([]);
  });

  it("holds its folder: a second run is refused; after kill -9 the next one takes the folder over at once", async () => {
    const out = join(folder, "shared");
    const argv = (steps: number): string[] => [
      "train",
      ...loraFlags(base, out, { max_steps: steps, logging_steps: 1 }),
    ];
    const first = start(argv(100_000));
    await expect.poll(first.notes, { timeout: 30_000, interval: 5 }).toContain("step 1/");
    const { code, notes } = await run(argv(1));
    expect(code).toBe(1);
    expect(notes).toContain(`error: ${out} is being written by process ${first.child.pid} on this machine, since 20`);
    expect(notes).not.toContain("Model:");
    first.child.kill("SIGKILL");
    await first.finished;
    const next = await run(argv(1));
    expect(next.code, next.notes).toBe(0);
    expect(next.notes).toContain(`${out} was being written by process ${first.child.pid} on `);
    expect(readdirSync(out).filter((name) => name.includes("lock"))).toEqual([]);
  });
});
