import { EventEmitter } from "node:events";
import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { createInterruption, resumeCommand } from "../../src/commands/interrupt.ts";

function listen() {
  const source = new EventEmitter();
  const calls: string[] = [];
  const interruption = createInterruption({
    source,
    onRequest: () => calls.push("request"),
    onInsist: () => calls.push("insist"),
  });
  expect(source.listenerCount("SIGINT")).toBe(0);
  interruption.listen();
  return { source, calls, interruption };
}

describe("Ctrl-C", () => {
  it("asks for a checkpoint and the end after the step, then leaves further signals to the system", async () => {
    const { source, calls, interruption } = listen();
    expect(interruption.signal.aborted).toBe(false);
    source.emit("SIGINT");
    expect(interruption.signal.aborted).toBe(true);
    await nextTurn();
    await nextTurn();
    expect(source.listenerCount("SIGINT") + source.listenerCount("SIGTERM")).toBe(0);
    expect(calls).toEqual(["request"]);
  });

  it("ends at once when two signals came during one step", () => {
    const { source, calls } = listen();
    source.emit("SIGINT");
    source.emit("SIGINT");
    expect(calls).toEqual(["request", "insist"]);
  });

  it("stops listening when disposed", () => {
    const { source, calls, interruption } = listen();
    interruption.dispose();
    source.emit("SIGTERM");
    expect(calls).toEqual([]);
  });
});

describe("resumeCommand", () => {
  it("repeats the command line, quoted for a shell, with the checkpoint", () => {
    const argv = ["train", "--output_dir", "my out", "--response_template", "it's\n", "--bf16"];
    expect(resumeCommand(argv, "my out/checkpoint-7")).toBe(
      `npx fms-accel train --output_dir 'my out' --response_template 'it'\\''s\n' --bf16 --resume_from_checkpoint 'my out/checkpoint-7'`,
    );
  });

  it("replaces an earlier --resume_from_checkpoint in every spelling", () => {
    const expected = "npx fms-accel train --seed 1 --resume_from_checkpoint b";
    for (const earlier of [
      ["--resume_from_checkpoint", "a"],
      ["--resume-from-checkpoint=a"],
      ["--resume_from_checkpoint"],
    ]) {
      expect(resumeCommand(["train", ...earlier, "--seed", "1"], "b")).toBe(expected);
    }
  });
});
