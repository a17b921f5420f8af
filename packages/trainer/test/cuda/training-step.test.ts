// A training run on the cuda device: how often the host waits for it, and what a fault in a kernel leaves.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { CausalLM } from "@fms-accel/models";
import { cudaStatus, setDefaultDevice, workStats } from "@fms-accel/tensor";
import { sourceRunner } from "@fms-accel/test-utilities";
import { beforeAll, describe, expect, test } from "vitest";
import type { TrainerCallback } from "../../src/index.ts";
import { checkpointDigest, outputFolder, trainSmall } from "../training/small-run.ts";

const isEmulated = cudaStatus().build === "emulator";
beforeAll(() => setDefaultDevice("cuda"));

test("the host waits for the device where a value is shown, and nowhere in a step", async () => {
  for (const [gradientAccumulationSteps, maxGradNorm] of [
    [1, 1e-3],
    [3, 1e6],
  ] as const) {
    const waits: number[] = [];
    const note = (): void => void waits.push(workStats("cuda").waits);
    const run = (callbacks: TrainerCallback<CausalLM>[], nonFiniteLoss: "error" | "skip") =>
      trainSmall({
        kind: "lora",
        args: {
          outputDir: outputFolder(),
          maxSteps: 3,
          saveStrategy: "no",
          gradientAccumulationSteps,
          maxGradNorm,
          nonFiniteLoss,
        },
        callbacks,
      });
    const perStep = (): number[] => waits.splice(0).flatMap((count, i, all) => (i === 0 ? [] : [count - all[i - 1]!]));
    // Clipping, the optimiser and dropout included.
    await run([{ onTrainBegin: note, onStepEnd: note }], "error");
    expect(perStep()).toEqual([0, 0, 0]);
    // All that is known of the steps so far is read at once.
    const look: TrainerCallback<CausalLM> = {
      onStepEnd: ({ step, state }) => {
        if (state.globalStep > 1) expect([step.loss, step.gradNorm].every(Number.isFinite)).toBe(true);
        note();
      },
    };
    await run([look], "error");
    expect(perStep()).toEqual([1, 1]);
    // Where the next step depends on it: the loss of each micro-batch, and the norm of the gradient.
    await run([{ onTrainBegin: note, onStepEnd: note }], "skip");
    expect(perStep()).toEqual(Array(3).fill(gradientAccumulationSteps + 1));
  }
});

const local = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

function trainElsewhere(
  outputDir: string,
  environment: Record<string, string>,
): { output: string; status: number | null } {
  const words = [sourceRunner, local("fault-child.ts"), outputDir];
  const { stdout, stderr, status } = spawnSync(process.execPath, words, {
    encoding: "utf8",
    env: { ...process.env, ...environment },
  });
  return { output: `${stdout}${stderr}`, status };
}

describe.runIf(isEmulated)("a fault in a kernel", () => {
  test(
    "ends training with an error that names the operation, the process lives, and the last checkpoint goes on to the same end",
    { timeout: 300_000 },
    async () => {
      const whole = outputFolder();
      const run = trainElsewhere(whole, {});
      expect(run.output).toMatch(/done\n$/);
      const launches = [...run.output.matchAll(/step, (\d+) launches/g)].map(([, count]) => Number(count));
      expect(launches).toHaveLength(4);

      const broken = outputFolder();
      const middleOfThirdStep = Math.floor(((launches[1] as number) + (launches[2] as number)) / 2);
      const { output, status } = trainElsewhere(broken, { CUDA_EMULATOR_FAULT: String(middleOfThirdStep) });
      expect(output).toMatch(
        /TensorError: \w+ \((?:\[[\d, ]*\] \w+ on cuda:0(?:, )?)+\) failed on the device: cudaError\w+.*last checkpoint/,
      );
      expect(output).toMatch(/alive\n$/);
      expect(status).toBe(0);
      expect(
        readdirSync(broken)
          .filter((name) => name.startsWith("checkpoint-"))
          .sort(),
      ).toEqual(["checkpoint-1", "checkpoint-2"]);

      expect(trainElsewhere(broken, {}).output).toMatch(/done\n$/);
      expect(existsSync(join(broken, "checkpoint-4"))).toBe(true);
      expect(checkpointDigest(join(broken, "checkpoint-4"), "lora")).toEqual(
        checkpointDigest(join(whole, "checkpoint-4"), "lora"),
      );
    },
  );
});
