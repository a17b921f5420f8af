/** Two ranks in processes of their own: stopped by one of them or killed in the middle of an epoch, they go on to the same end. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runRanks, temporaryDirectory } from "@fms-accel/test-utilities";
import { beforeAll, describe, expect, it } from "vitest";
import { kinds } from "./rank-child.ts";

const child = fileURLToPath(new URL("rank-child.ts", import.meta.url));
const folder = temporaryDirectory();

interface SavedState {
  readonly global_step: number;
  readonly epoch: number;
  readonly num_input_tokens_seen: number;
  readonly log_history: readonly Readonly<Record<string, number>>[];
}

const lastCheckpoint = { known: 0, stream: 0 };
const file = (kind: (typeof kinds)[number], run: string, name: string): string =>
  join(folder, `${kind}-${run}`, `checkpoint-${lastCheckpoint[kind]}`, name);
const stateIn = (directory: string): SavedState =>
  JSON.parse(readFileSync(join(directory, "trainer_state.json"), "utf8")) as SavedState;

beforeAll(async () => {
  const begun = await runRanks(2, child, ["begin", folder], (rank, output, kill) => {
    if (rank === 0 && output.includes("saved 4\n")) kill();
  });
  expect(begun.codes, begun.errors).toEqual([null, null]);
  for (const output of begun.outputs) {
    expect(output).toMatch(/known-resumed: stopped after 3$/m);
    expect(output).not.toContain("stream-resumed:");
    for (const kind of kinds)
      lastCheckpoint[kind] = Number(new RegExp(`${kind}-whole: ended after (\\d+)`).exec(output)?.[1]);
  }
  // In the middle of an epoch, or nothing would be shown.
  for (const [kind, step] of [
    ["known", 3],
    ["stream", 4],
  ] as const) {
    const { epoch, global_step: stood } = stateIn(join(folder, `${kind}-resumed`, `checkpoint-${step}`));
    expect(stood).toBe(step);
    expect(epoch % 1).not.toBe(0);
  }
  const resumed = await runRanks(2, child, ["go-on", folder]);
  expect(resumed.codes, resumed.errors).toEqual([0, 0]);
}, 300_000);

describe.each(kinds)("%s samples on two ranks", (kind) => {
  it("end in the same bits as a run that was not interrupted, the random numbers of each rank among them", () => {
    const names = ["adapter_model.safetensors", "optimizer.safetensors", "rng_state_0.json", "rng_state_1.json"];
    for (const name of names)
      expect(readFileSync(file(kind, "resumed", name)).equals(readFileSync(file(kind, "whole", name))), name).toBe(
        true,
      );
    expect(readFileSync(file(kind, "whole", "rng_state_0.json"), "utf8")).not.toBe(
      readFileSync(file(kind, "whole", "rng_state_1.json"), "utf8"),
    );
  });

  it("have the same losses, and count what both ranks read", () => {
    const [whole, resumed] = ["whole", "resumed"].map((run) => stateIn(file(kind, run, "")));
    const losses = ({ log_history: history }: SavedState): unknown[] =>
      history.filter((entry) => "loss" in entry).map(({ loss, step, epoch }) => ({ loss, step, epoch }));
    expect(losses(resumed!)).toEqual(losses(whole!));
    expect(losses(whole!)).toHaveLength(lastCheckpoint[kind]);
    expect(resumed!.num_input_tokens_seen).toBe(whole!.num_input_tokens_seen);
  });

  it("leave no lock behind", () => {
    expect(existsSync(join(folder, `${kind}-resumed`, ".fms-accel.lock"))).toBe(false);
  });
});
