/** kill -9 at random instants: every time the run goes on, and in the end it equals one that was never killed. */
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sourceRunner } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import { killedRun } from "./kill-child.ts";
import { checkpointDigest, outputFolder, trainSmall } from "./small-run.ts";

/** FMS_ACCEL_KILLS=30 runs the long version. */
const kills = Number(process.env["FMS_ACCEL_KILLS"] ?? 3);
const maxSteps = 10 * kills;

/** When to kill: so many milliseconds after so many steps. A step takes some 20 ms, writing a checkpoint about as much. */
interface Moment {
  readonly steps: number;
  readonly delay: number;
}

function randomMoment(): Moment {
  return { steps: Math.floor(Math.random() * 8), delay: Math.random() * 60 };
}

interface Attempt {
  /** The step that it went on from; `undefined` when it was killed before. */
  readonly from: number | undefined;
  readonly finished: boolean;
  readonly errors: string;
}

const local = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Trains in a process of its own, and kills it at a moment after training began. */
function attempt(outputDir: string, moment: Moment | undefined): Promise<Attempt> {
  const child = spawn(process.execPath, [sourceRunner, local("kill-child.ts"), outputDir, String(maxSteps)]);
  let output = "";
  let errors = "";
  let isDoomed = false;
  child.stderr.on("data", (text: Buffer) => (errors += text.toString()));
  child.stdout.on("data", (text: Buffer) => {
    output += text.toString();
    if (moment === undefined || isDoomed || !output.includes("begin")) return;
    if (output.split("step").length - 1 < moment.steps) return;
    isDoomed = true;
    setTimeout(() => child.kill("SIGKILL"), moment.delay);
  });
  return new Promise((resolve) => {
    child.on("close", (code) => {
      const begun = /begin (\d+)/.exec(output)?.[1];
      resolve({
        from: begun === undefined ? undefined : Number(begun),
        finished: code === 0 && output.includes("done"),
        errors,
      });
    });
  });
}

/** Lines of training_logs.jsonl without their times. */
function logLines(folder: string): unknown[] {
  const lines = readFileSync(join(folder, "training_logs.jsonl"), "utf8").trimEnd().split("\n");
  return lines.map((line) => {
    const { data, name } = JSON.parse(line) as { data: Record<string, unknown>; name: string };
    return { ...data, timestamp: null, name };
  });
}

describe("kill -9", () => {
  it(`leaves a folder to resume from, ${kills} times`, { timeout: 60_000 + kills * 20_000 }, async () => {
    const whole = outputFolder();
    await trainSmall(killedRun(whole, maxSteps));
    const killed = outputFolder();
    const from: number[] = [];
    while (from.length < kills) {
      const { from: step, finished, errors } = await attempt(killed, randomMoment());
      expect(errors).toBe("");
      if (finished) break;
      if (step !== undefined) from.push(step);
    }
    expect(from).toHaveLength(kills);
    const last = await attempt(killed, undefined);
    expect(last).toMatchObject({ finished: true, errors: "" });
    // What a checkpoint was written for is never done again.
    const resumed = [...from, last.from ?? 0];
    expect(resumed).toEqual(resumed.toSorted((a, b) => a - b));
    const name = `checkpoint-${maxSteps}`;
    expect(checkpointDigest(join(killed, name), "lora")).toEqual(checkpointDigest(join(whole, name), "lora"));
    expect(logLines(killed)).toEqual(logLines(whole));
    expect(readdirSync(killed).sort()).toEqual(readdirSync(whole).sort());
  });
});
