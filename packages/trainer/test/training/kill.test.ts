/** kill -9 at random instants: every time the run goes on, and in the end it equals one that was never killed. */
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { killedRun } from "./kill-child.ts";
import { checkpointDigest, outputFolder, trainSmall } from "./small-run.ts";

/** FMS_ACCEL_KILLS=30 runs the long version. */
const kills = Number(process.env["FMS_ACCEL_KILLS"] ?? 4);

interface Attempt {
  /** The step that it went on from; `undefined` when it was killed before. */
  readonly from: number | undefined;
  readonly finished: boolean;
  readonly errors: string;
}

const local = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Trains in a process of its own, and kills it `delay` milliseconds after training began. */
function attempt(outputDir: string, delay: number | undefined): Promise<Attempt> {
  const child = spawn(process.execPath, [local("run-source.mjs"), local("kill-child.ts"), outputDir]);
  let output = "";
  let errors = "";
  child.stderr.on("data", (text: Buffer) => (errors += text.toString()));
  child.stdout.on("data", (text: Buffer) => {
    const hadBegun = output.includes("begin");
    output += text.toString();
    if (!hadBegun && output.includes("begin") && delay !== undefined) setTimeout(() => child.kill("SIGKILL"), delay);
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
    await trainSmall({ ...killedRun, args: { ...killedRun.args, outputDir: whole } });
    const killed = outputFolder();
    const from: (number | undefined)[] = [];
    for (let kill = 0; kill < kills; kill++) {
      const { from: step, finished, errors } = await attempt(killed, Math.random() * 400);
      from.push(step);
      if (finished) break;
      expect(errors).toBe("");
    }
    const last = await attempt(killed, undefined);
    expect(last).toMatchObject({ finished: true, errors: "" });
    // Steps are never lost that a checkpoint was written for.
    const resumed = [...from, last.from].filter((step) => step !== undefined);
    expect(resumed).toEqual(resumed.toSorted((a, b) => a - b));
    expect(checkpointDigest(join(killed, "checkpoint-60"), "lora")).toEqual(
      checkpointDigest(join(whole, "checkpoint-60"), "lora"),
    );
    expect(logLines(killed)).toEqual(logLines(whole));
    expect(readdirSync(killed).sort()).toEqual(readdirSync(whole).sort());
  });
});
