import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { meetingRanks, temporaryDirectory } from "@fms-accel/test-utilities";
import { afterAll, describe, expect, it } from "vitest";
import { TrainingError, withOutputLock, type Communicator } from "../../src/index.ts";
import { withSharedOutputLock } from "../../src/checkpoint/output-lock.ts";
import { makeTrainer } from "../training/small-run.ts";

const LOCK = ".fms-accel.lock";
const children: ChildProcess[] = [];
afterAll(() => children.forEach((child) => child.kill("SIGKILL")));

/** A process that does nothing, with its start as Linux knows it. */
function otherProcess(): { readonly child: ChildProcess; readonly pid: number; readonly started: string } {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
  children.push(child);
  const pid = child.pid ?? 0;
  return { child, pid, started: startOf(pid) };
}

function startOf(pid: number): string {
  if (!existsSync(`/proc/${pid}/stat`)) return "";
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
}

/** A folder with a lock; text is written as it is. */
function lockedFolder(holder: object | string, ageMs = 0): string {
  const folder = temporaryDirectory();
  const since = "2026-01-02T03:04:05.000Z";
  const text =
    typeof holder === "string" ? holder : JSON.stringify({ host: hostname(), started: "", since, ...holder });
  writeFileSync(join(folder, LOCK), text);
  const touched = new Date(Date.now() - ageMs);
  utimesSync(join(folder, LOCK), touched, touched);
  return folder;
}

/** Takes a folder; returns what was said. */
async function take(folder: string): Promise<string[]> {
  const lines: string[] = [];
  const held = await withOutputLock(
    folder,
    (line) => lines.push(line),
    () => Promise.resolve(existsSync(join(folder, LOCK))),
  );
  expect(held).toBe(true);
  expect(readdirSync(folder)).toEqual([]);
  return lines;
}

describe("an output folder", () => {
  it("is held while it is written, by calls inside of each other too", async () => {
    const folder = temporaryDirectory();
    const say = (line: string): never => expect.fail(line);
    await withOutputLock(folder, say, async () => {
      expect(JSON.parse(readFileSync(join(folder, LOCK), "utf8"))).toMatchObject({
        pid: process.pid,
        host: hostname(),
      });
      await withOutputLock(folder, say, () => Promise.resolve());
      expect(readdirSync(folder)).toEqual([LOCK]);
    });
    expect(readdirSync(folder)).toEqual([]);
  });

  it("is free again when the work fails, and gone when it was made for it", async () => {
    const folder = join(temporaryDirectory(), "new", "out");
    const failing = withOutputLock(
      folder,
      () => undefined,
      () => Promise.reject(new Error("no model")),
    );
    await expect(failing).rejects.toThrow("no model");
    expect(existsSync(folder)).toBe(false);
    await withOutputLock(
      folder,
      () => undefined,
      async () => writeFileSync(join(folder, "result"), ""),
    );
    expect(readdirSync(folder)).toEqual(["result"]);
  });

  it("of another process is refused, naming it; a trainer writes nothing there", async () => {
    const { pid, started } = otherProcess();
    const folder = lockedFolder({ pid, started });
    const message =
      `${folder} is being written by process ${pid} on this machine, since 2026-01-02T03:04:05.000Z. Give this run an ` +
      `output_dir of its own, or end that one first (if it is gone, remove ${join(folder, LOCK)}).`;
    await expect(take(folder)).rejects.toThrow(message);
    const trainer = await makeTrainer({ kind: "lora", args: { outputDir: folder, maxSteps: 1 } });
    await expect(trainer.train()).rejects.toThrow(message);
    await expect(trainer.train()).rejects.toBeInstanceOf(TrainingError);
    expect(readdirSync(folder)).toEqual([LOCK]);
  });

  it("is taken over at once from a process that was killed", async () => {
    const { child, pid, started } = otherProcess();
    const folder = lockedFolder({ pid, started });
    const ended = new Promise((resolve) => void child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
    expect(await take(folder)).toEqual([
      `${folder} was being written by process ${pid} on ${hostname()}, which is gone without having finished; this run takes the folder over.`,
    ]);
  });

  it.runIf(existsSync("/proc/self/stat"))(
    "is taken over where a later process has the number of one that is gone",
    async () => {
      expect(await take(lockedFolder({ pid: process.ppid, started: "1" }))).toHaveLength(1);
      expect(await take(lockedFolder({ pid: process.pid, started: "1" }))).toHaveLength(1);
    },
  );

  it("of another machine is refused while that one gives signs of life", async () => {
    const holder = { pid: 1, host: "elsewhere" };
    await expect(take(lockedFolder(holder, 60_000))).rejects.toThrow("process 1 on the machine elsewhere");
    expect(await take(lockedFolder(holder, 11 * 60_000))).toHaveLength(1);
  });

  it("with a lock that is not whole: one that is just being written is respected, an old one is not", async () => {
    await expect(take(lockedFolder(""))).rejects.toThrow("is being written by another process.");
    expect(await take(lockedFolder("{", 60_000))).toEqual([
      expect.stringContaining("was being written by a process, which is gone"),
    ]);
  });

  it("goes to one of two that find the same left-over lock", async () => {
    const folder = lockedFolder("{", 60_000);
    const contender = JSON.stringify({ ...otherProcess(), child: undefined, host: hostname(), since: "now" });
    const first = take(folder);
    writeFileSync(join(folder, LOCK), contender);
    await expect(first).rejects.toThrow(/is being written by process \d+ on this machine, since now/);
  });

  it("is taken by rank 0 alone for all ranks of a run", async () => {
    const [one, two] = meetingRanks(2);
    const folder = temporaryDirectory();
    const say = (line: string): never => expect.fail(line);
    const events: string[] = [];
    const hold = (communicator: Communicator): Promise<void> =>
      withSharedOutputLock(folder, communicator, say, async () => {
        // What rank 1 finds is the lock of rank 0, which would be a foreign one if the ranks were processes.
        events.push(`rank ${communicator.rank}: ${readdirSync(folder).join()}`);
        await communicator.barrier();
      });
    await Promise.all([hold(one!), hold(two!)]);
    expect(events.sort()).toEqual([`rank 0: ${LOCK}`, `rank 1: ${LOCK}`]);
    expect(readdirSync(folder)).toEqual([]);

    // Held by another process, as rank 1 sees the lock of its rank 0: it takes nothing and removes nothing.
    const { pid, started } = otherProcess();
    const held = lockedFolder({ pid, started });
    const settled = { ...two!, allReduce: () => Promise.resolve(), barrier: () => Promise.resolve() };
    expect(await withSharedOutputLock(held, settled, say, () => Promise.resolve("trained"))).toBe("trained");
    expect(JSON.parse(readFileSync(join(held, LOCK), "utf8"))).toMatchObject({ pid });
  });

  it("of another process ends all ranks, none of which waits for rank 0", async () => {
    const { pid, started } = otherProcess();
    const folder = lockedFolder({ pid, started });
    const trainers = await Promise.all(
      meetingRanks(2).map((communicator) =>
        makeTrainer({ kind: "lora", args: { outputDir: folder, maxSteps: 1 }, communicator }),
      ),
    );
    const [first, second] = await Promise.allSettled(trainers.map((trainer) => trainer.train()));
    expect(first).toMatchObject({ status: "rejected", reason: { message: expect.stringContaining(`process ${pid}`) } });
    expect(second).toMatchObject({
      status: "rejected",
      reason: { message: `Rank 0 cannot write output_dir ${folder}; it says why.` },
    });
    expect(readdirSync(folder)).toEqual([LOCK]);
  });

  it("that cannot be written is an error that says why", async () => {
    const file = join(temporaryDirectory(), "file");
    writeFileSync(file, "");
    await expect(take(file)).rejects.toThrow(
      `output_dir ${file} cannot be written: there is a file of this name. Name another folder.`,
    );
    await expect(take(join(file, "below"))).rejects.toThrow(TrainingError);
    const folder = temporaryDirectory();
    mkdirSync(join(folder, LOCK));
    await expect(take(folder)).rejects.toThrow("is being written by another process.");
  });
});
