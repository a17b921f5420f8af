// Training with captured steps: the same bits as without, and what cannot be captured is said and runs without.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@fms-accel/models";
import { fixturePath } from "@fms-accel/test-utilities";
import { full, Generator, memoryStats, setDefaultDevice, workStats, type Module } from "@fms-accel/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { BatchList, Trainer, type Batch, type TrainerCallback, type TrainingArgumentsInput } from "../../src/index.ts";
import {
  checkpointDigest,
  makeModel,
  outputFolder,
  trainSmall,
  untimed,
  type SmallRun,
} from "../training/small-run.ts";

beforeAll(() => setDefaultDevice("cuda"));

/** Micro-batches of two widths in turn, right-padded, with more and fewer targets; the last two are packed. */
function batches(): Batch[] {
  return Array.from({ length: 12 }, (_, index): Batch => {
    const [rows, width] = index % 2 === 0 ? [2, 12] : [2, 20];
    const inputIds = Int32Array.from({ length: rows * width }, (_, at) => (at * 7 + index * 13) % 90);
    const labels = inputIds.map((id, at) => (at % width < 3 + (index % 5) ? -100 : id));
    const attentionMask = inputIds.map((_, at) => (at >= width && at % width > width - 3 ? 0 : 1));
    for (const [at, seen] of attentionMask.entries()) if (seen === 0) labels[at] = -100;
    const positionIds = inputIds.map((_, at) => (at % width) % 6);
    const isPacked = index >= 10;
    return {
      shape: [rows, width],
      inputIds,
      labels,
      ...(isPacked ? { positionIds } : { attentionMask }),
      tokens: attentionMask.reduce((sum, seen) => sum + seen, 0),
      trainableTokens: labels.filter((label, at) => label !== -100 && at % width > 0).length,
    };
  });
}

async function train(
  kind: SmallRun["kind"],
  args: TrainingArgumentsInput,
  rest: { batches?: Batch[]; callbacks?: TrainerCallback[]; model?: Awaited<ReturnType<typeof makeModel>> } = {},
): Promise<{ digest: Record<string, unknown>; history: unknown; lines: string }> {
  const outputDir = outputFolder();
  const lines: string[] = [];
  const trainer = new Trainer({
    model: rest.model ?? (await makeModel(kind)),
    args: {
      outputDir,
      learningRate: 2e-3,
      lrSchedulerType: "cosine",
      warmupSteps: 2,
      saveStrategy: "no",
      loggingSteps: 4,
      ...args,
    },
    trainLoader: new BatchList(rest.batches ?? batches()),
    ...(rest.callbacks && { callbacks: rest.callbacks }),
    output: { write: (line: string) => lines.push(line) > 0 },
  });
  const { globalStep } = await trainer.train();
  const digest =
    args.saveStrategy === "steps" ? checkpointDigest(join(outputDir, `checkpoint-${globalStep}`), kind) : {};
  return { digest, history: untimed(trainer.state.logHistory), lines: lines.join("") };
}

describe("cuda_graphs", () => {
  test.each([
    ["an adapter with dropout, two widths in turn", "lora", { gradientAccumulationSteps: 1, maxSteps: 16 }],
    ["all weights, two micro-batches a step", "full", { gradientAccumulationSteps: 2, maxSteps: 9, maxGradNorm: 0.05 }],
    ["recomputed in bfloat16", "lora", { maxSteps: 8, bf16: true, gradientCheckpointing: true, weightDecay: 0.1 }],
  ] as const)("gives the bits of a run without: %s", async (_, kind, settings) => {
    const args = { ...settings, saveStrategy: "steps", saveSteps: 100 } as const;
    const plain = await train(kind, args);
    const launches = workStats("cuda").graphLaunches;
    const graphs = await train(kind, { ...args, cudaGraphs: true });
    expect(graphs.digest).toEqual({ ...plain.digest, state: graphs.digest.state });
    expect(graphs.history).toEqual(plain.history);
    expect(workStats("cuda").graphLaunches).toBeGreaterThan(launches);
    expect(graphs.lines).toMatch(/CUDA graphs: [1-9]\d* captured \(\d+ kernels\), [1-9]\d* of \d+ steps replayed/);
    expect(plain.lines).not.toMatch(/CUDA graphs/);
  });

  test("goes on from a checkpoint to the same end, and frees its memory", { timeout: 300_000 }, async () => {
    const run = (outputDir: string, maxSteps: number, resumes = false): Promise<unknown> =>
      trainSmall({
        kind: "lora",
        args: { outputDir, maxSteps: 6, saveStrategy: "steps", saveSteps: 3, cudaGraphs: true, loggingSteps: 2 },
        callbacks: [
          { onStepEnd: ({ state, control }) => void (control.shouldTrainingStop ||= state.globalStep >= maxSteps) },
        ],
        options: { resumeFromCheckpoint: resumes },
      });
    const before = memoryStats("cuda").graphBytes;
    const [whole, parted] = [outputFolder(), outputFolder()];
    await run(whole, 6);
    await run(parted, 3);
    await run(parted, 6, true);
    const digestOf = (folder: string): unknown => checkpointDigest(join(folder, "checkpoint-6"), "lora");
    expect(digestOf(parted)).toEqual(digestOf(whole));
    expect(memoryStats("cuda").graphBytes).toBe(before);
  });

  test.each([false, true])("no step waits for the device unless it logs (cuda_graphs %s)", async (cudaGraphs) => {
    const waits: number[] = [];
    const note = (): void => void waits.push(workStats("cuda").waits);
    await train(
      "lora",
      { maxSteps: 12, loggingSteps: 6, gradientAccumulationSteps: 2, cudaGraphs },
      { callbacks: [{ onTrainBegin: note, onStepEnd: note, onLog: note }] },
    );
    // At the start, 6 steps, the log with one wait for all of their numbers, 6 steps, the log; the last entry shows nothing new.
    const perEvent = waits.slice(1, 15).map((count, i) => count - (waits[i] as number));
    expect(perEvent).toEqual([0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]);
  });

  test("holds as many graphs as it may, and says how many steps ran without", async () => {
    const { lines } = await train("lora", { maxSteps: 20, cudaGraphs: true, maxCudaGraphs: 1 });
    expect(lines).toMatch(/CUDA graphs: 1 captured .*[1-9]\d* because there were 1 graphs \(max_cuda_graphs\)/);
  });

  test.each([
    ["experts, and the loss of their router", "mixtral"],
    ["experts with adapters and dropout", "mixtral", ["w1", "w2", "q_proj"]],
    ["experts in one parameter, and a shared one", "granitemoeshared"],
    ["frequencies for short calls and for long ones", "llama-longrope"],
    ["frequencies that follow the length", "llama-rope-dynamic"],
    ["a table of positions", "gpt2"],
  ])("gives the bits of a run without, and neither waits: %s", async (_, name, targetModules: string[] = []) => {
    const mixed = [0, 10].map((index) => batches()[index] as Batch);
    const run = async (cudaGraphs: boolean) => {
      const waits: number[] = [];
      const note = (): void => void waits.push(workStats("cuda").waits);
      const whole = await AutoModelForCausalLM.fromPretrained(fixturePath("models", name), { dtype: "float32" });
      const config = new LoraConfig({ r: 2, loraDropout: 0.25, targetModules });
      const model = targetModules.length > 0 ? getPeftModel(whole, config, { generator: new Generator(3) }) : whole;
      const args = { maxSteps: 6, loggingSteps: 6, cudaGraphs } as const;
      const result = await train("full", args, {
        batches: mixed,
        model,
        callbacks: [{ onTrainBegin: note, onStepEnd: note }],
      });
      expect(waits.map((count) => count - (waits[0] as number))).toEqual(Array(7).fill(0));
      return result;
    };
    const [plain, graphs] = [await run(false), await run(true)];
    expect(graphs.history).toEqual(plain.history);
    expect(graphs.lines).toMatch(
      /CUDA graphs: 2 captured \(\d+ kernels\), 4 of 6 steps replayed, 2 ran without as the/,
    );
  });

  test("runs without where the host takes part in a step, and says why", async () => {
    const args = { maxSteps: 4, loggingSteps: 2 } as const;
    const experts = async () =>
      getPeftModel(
        await AutoModelForCausalLM.fromPretrained(fixturePath("models", "mixtral"), { dtype: "float32" }),
        new LoraConfig({ r: 2, targetModules: ["w1"], useDora: true }),
        { generator: new Generator(3) },
      );
    const same = batches().filter((_, index) => index % 2 === 0);
    const plain = await train("full", args, { batches: same, model: await experts() });
    const refused = await train("full", { ...args, cudaGraphs: true }, { batches: same, model: await experts() });
    expect(refused.history).toEqual(plain.history);
    expect(refused.lines).toMatch(/steps run without a graph: .*cannot be part of a CUDA graph/);
    expect(refused.lines).toMatch(/0 captured.*0 of 4 steps replayed.*because they could not be captured/);

    const listening = await train(
      "lora",
      { ...args, cudaGraphs: true },
      { callbacks: [{ onOptimizerStep: () => {} }] },
    );
    expect(listening.lines).toMatch(/a callback listens to what happens inside of a step/);
    await expect(train("lora", { ...args, cudaGraphs: true, nonFiniteLoss: "skip" })).rejects.toThrow(
      /cuda_graphs: a step cannot be captured, because non_finite_loss is skip/,
    );
  });

  test.each([false, true])(
    "a loss that is not finite ends the run before anything is written (cuda_graphs %s)",
    async (cudaGraphs) => {
      const outputDir = outputFolder();
      const spoil: TrainerCallback = {
        onStepBegin: ({ state, model }) => {
          if (state.globalStep !== 6) return;
          for (const parameter of (model as Module).parameters()) parameter.copyFrom(full([], Number.NaN));
        },
      };
      const args = {
        outputDir,
        maxSteps: 12,
        loggingSteps: 12,
        saveStrategy: "steps",
        saveSteps: 12,
        cudaGraphs,
      } as const;
      await expect(train("full", args, { callbacks: [spoil] })).rejects.toThrow(
        /Step 7: the loss is NaN. No checkpoint was written before/,
      );
      expect(readdirSync(outputDir).filter((name) => name.startsWith("checkpoint"))).toEqual([]);
    },
  );
});
