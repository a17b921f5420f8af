/** What the loop does around a step: events, intervals, counts, stops and errors. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { CausalLM } from "@fms-accel/models";
import { mul } from "@fms-accel/tensor";
import { describe, expect, it } from "vitest";
import {
  BatchList,
  modelLoss,
  Trainer,
  TrainerSlots,
  TrainingError,
  type Batch,
  type LossFunction,
  type TrainerCallback,
  type TrainerEventName,
  type TrainingArgumentsInput,
} from "../../src/index.ts";
import { makeModel, makeTrainer, outputFolder, trainSmall, untimed } from "./small-run.ts";

function batch(...rows: readonly (readonly number[])[]): Batch {
  const width = rows[0]?.length ?? 0;
  const labels = Int32Array.from(rows.flat());
  const inputIds = labels.map((label) => Math.max(label, 3));
  const trainableTokens = rows.flatMap((row) => row.slice(1)).filter((label) => label !== -100).length;
  return { shape: [rows.length, width], inputIds, labels, tokens: labels.length, trainableTokens };
}

const learnable = batch([5, 9, 12, 40], [-100, -100, 33, 8]);
const masked = batch([-100, -100, -100, -100]);
const quiet = { saveStrategy: "no", loggingSteps: 1, learningRate: 1e-3 } as const;

async function trainBatches(
  batches: readonly Batch[],
  args: TrainingArgumentsInput,
  loss?: LossFunction<CausalLM>,
): Promise<Trainer<CausalLM>> {
  const trainer = new Trainer<CausalLM>({
    model: await makeModel("full"),
    args: { ...quiet, ...args },
    trainLoader: new BatchList(batches),
    ...(loss === undefined ? {} : { loss }),
    output: "silent",
  });
  await trainer.train();
  return trainer;
}

const eventNames: readonly TrainerEventName[] = [
  "onInitEnd",
  "onTrainBegin",
  "onEpochBegin",
  "onStepBegin",
  "onSubstepEnd",
  "onPreOptimizerStep",
  "onOptimizerStep",
  "onStepEnd",
  "onPredictionStep",
  "onEvaluate",
  "onLog",
  "onSave",
  "onEpochEnd",
  "onTrainEnd",
];

/** Counts steps, and has a state. */
function stepCounter(): TrainerCallback<CausalLM> & { steps: number } {
  return {
    name: "counter",
    steps: 0,
    onStepEnd() {
      this.steps++;
    },
    saveState() {
      return this.steps;
    },
    loadState(state) {
      this.steps = Number(state);
    },
  };
}

function lossesOf(trainer: Trainer<CausalLM>): unknown[] {
  return trainer.state.logHistory.flatMap((entry) => ("loss" in entry ? [entry["loss"]] : []));
}

/** A loss that is NaN in the second step. */
function failingLoss(): LossFunction<CausalLM> {
  let calls = 0;
  return (model, inputs) => mul(modelLoss(model, inputs), ++calls === 2 ? Number.NaN : 1);
}

describe("events", () => {
  it("come in Hugging Face's order", async () => {
    const seen: string[] = [];
    const callback = Object.fromEntries(
      eventNames.map((name) => [name, () => void seen.push(name)]),
    ) as TrainerCallback<CausalLM>;
    // 5 steps an epoch; 2 micro-batches a step.
    const args = {
      maxSteps: 2,
      saveSteps: 2,
      evalSteps: 2,
      loggingSteps: 1,
      outputDir: outputFolder(),
      perDeviceEvalBatchSize: 40,
    } as const;
    await trainSmall({ kind: "full", args, callbacks: [callback] });
    const step = ["onStepBegin", "onSubstepEnd", "onPreOptimizerStep", "onOptimizerStep", "onStepEnd", "onLog"];
    expect(seen).toEqual([
      "onInitEnd",
      "onTrainBegin",
      "onEpochBegin",
      ...step,
      ...step,
      "onPredictionStep",
      "onLog",
      "onEvaluate",
      "onSave",
      "onEpochEnd",
      "onLog",
      "onTrainEnd",
    ]);
  });

  it("can stop training, an epoch, and ask for a log, an evaluation or a checkpoint", async () => {
    const folder = outputFolder();
    const callback: TrainerCallback<CausalLM> = {
      onStepEnd({ state, control }) {
        if (state.globalStep === 2) control.shouldEpochStop = true;
        if (state.globalStep === 3) control.shouldSave = control.shouldEvaluate = control.shouldLog = true;
        if (state.globalStep === 4) control.shouldTrainingStop = true;
      },
    };
    const { trainer, output } = await trainSmall({
      kind: "full",
      args: { maxSteps: 9, saveStrategy: "no", loggingStrategy: "no", outputDir: folder },
      callbacks: [callback],
    });
    expect(output).toMatchObject({ globalStep: 4, stopped: false, checkpoint: join(folder, "checkpoint-3") });
    // The second epoch began after 2 of 5 steps.
    expect(trainer.state.epoch).toBeCloseTo(1 + 2 / 5, 12);
    expect(trainer.state.logHistory.map((entry) => [entry["step"], Object.keys(entry)[0]])).toEqual([
      [3, "loss"],
      [3, "eval_loss"],
      [4, "train_runtime"],
    ]);
  });

  it("keep the state of a callback in the checkpoint", async () => {
    const args = { maxSteps: 4, saveSteps: 2, outputDir: outputFolder() } as const;
    await trainSmall({ kind: "full", args, callbacks: [stepCounter()] });
    const second = stepCounter();
    await trainSmall({ kind: "full", args: { ...args, resumeFromCheckpoint: "checkpoint-2" }, callbacks: [second] });
    expect(second.steps).toBe(4);
  });
});

describe("intervals", () => {
  it("may be fractions of the run", async () => {
    const args = {
      maxSteps: 8,
      loggingSteps: 0.25,
      evalSteps: 0.5,
      saveStrategy: "no",
      loggingFirstStep: true,
    } as const;
    const { trainer } = await trainSmall({ kind: "full", args });
    const steps = (key: string): unknown[] =>
      trainer.state.logHistory.filter((entry) => key in entry).map((entry) => entry["step"]);
    expect(steps("loss")).toEqual([1, 2, 4, 6, 8]);
    expect(steps("eval_loss")).toEqual([4, 8]);
  });

  it("are epochs by default", async () => {
    const { trainer } = await trainSmall({
      kind: "full",
      args: { numTrainEpochs: 2, outputDir: outputFolder(), evalStrategy: "epoch", evalDelay: 1.5 },
    });
    expect(trainer.state.logHistory.map((entry) => [entry["epoch"], Object.keys(entry)[0]])).toEqual([
      [1, "loss"],
      [2, "loss"],
      [2, "eval_loss"],
      [2, "train_runtime"],
    ]);
    expect(trainer.state.maxSteps).toBe(10);
  });
});

describe("accumulation", () => {
  it("gives the numbers of one large batch", async () => {
    const rows = [
      [5, 9, 12, 40],
      [-100, -100, 33, 8],
      [7, 61, 62, -100],
      [-100, 90, 91, 92],
    ];
    const whole = await trainBatches([batch(...rows)], { maxSteps: 3 });
    const parts = await trainBatches(
      rows.map((row) => batch(row)),
      { maxSteps: 3, gradientAccumulationSteps: 4 },
    );
    for (const [index, entry] of whole.state.logHistory.entries()) {
      for (const key of ["loss", "grad_norm"] as const) {
        if (!(key in entry)) continue;
        expect(Math.abs(Number(parts.state.logHistory[index]?.[key]) / Number(entry[key]) - 1)).toBeLessThan(1e-5);
      }
    }
  });
});

describe.each([
  ["float32", {}],
  ["bfloat16", { bf16: true }],
] as const)("gradient checkpointing in %s", (_, precision) => {
  it.each(["full", "lora"] as const)("changes no number (%s)", async (kind) => {
    const args = { maxSteps: 3, saveStrategy: "no", loggingSteps: 1, ...precision } as const;
    const plain = await trainSmall({ kind, args });
    const recomputed = await trainSmall({ kind, args: { ...args, gradientCheckpointing: true } });
    expect(untimed(recomputed.trainer.state.logHistory)).toEqual(untimed(plain.trainer.state.logHistory));
  });
});

describe("micro-batches without a trainable token", () => {
  it("add nothing and are counted", async () => {
    const with2 = await trainBatches([learnable, masked], { maxSteps: 2, gradientAccumulationSteps: 2 });
    const alone = await trainBatches([learnable], { maxSteps: 2 });
    expect(lossesOf(with2)).toEqual(lossesOf(alone));
    expect(with2.state.logHistory.at(-1)).toMatchObject({ batches_without_trainable_tokens: 2 });
  });

  it("leave the weights as they are when there is nothing else in a step", async () => {
    const trainer = await trainBatches([masked], { maxSteps: 2 });
    expect(trainer.state.logHistory).toHaveLength(1);
    expect(trainer.state.logHistory[0]).toMatchObject({ steps_without_trainable_tokens: 2, train_loss: 0, step: 2 });
    const before = await makeModel("full");
    for (const [name, parameter] of before.namedParameters()) {
      const after = new Map(trainer.model.namedParameters()).get(name);
      expect(Buffer.compare(after?.toBytes() ?? Buffer.of(), parameter.toBytes())).toBe(0);
    }
  });

  it("are an error by option", async () => {
    const training = trainBatches([learnable, masked], { maxSteps: 2, noTrainableTokens: "error" });
    await expect(training).rejects.toThrow(TrainingError);
    await expect(training).rejects.toThrow("Step 2: 1 micro-batch has no trainable token: every label is masked");
  });

  it("are not evaluated either", async () => {
    const trainer = new Trainer<CausalLM>({
      model: await makeModel("full"),
      args: quiet,
      evalLoader: new BatchList([masked]),
      output: "silent",
    });
    await expect(trainer.evaluate()).rejects.toThrow(
      "The evaluation set (1 samples) has no trainable token: every label is masked.",
    );
  });
});

describe("a loss that is not finite", () => {
  it("stops the run; with no checkpoint it says so", async () => {
    const training = trainBatches([learnable], { maxSteps: 3 }, failingLoss());
    await expect(training).rejects.toThrow(TrainingError);
    await expect(training).rejects.toThrow("Step 2: the loss is NaN. No checkpoint was written before.");
  });

  it("names the last good checkpoint", async () => {
    const folder = outputFolder();
    const training = trainBatches(
      [learnable],
      { maxSteps: 3, saveStrategy: "steps", saveSteps: 1, outputDir: folder },
      failingLoss(),
    );
    await expect(training).rejects.toThrow(`The last good checkpoint is ${join(folder, "checkpoint-1")}`);
  });

  it("is left out and counted by option", async () => {
    const trainer = await trainBatches([learnable], { maxSteps: 3, nonFiniteLoss: "skip" }, failingLoss());
    const losses = trainer.state.logHistory.filter((entry) => "loss" in entry);
    expect(losses.map((entry) => entry["step"])).toEqual([1, 3]);
    expect(trainer.state.logHistory.at(-1)).toMatchObject({ steps_not_finite: 1 });
    expect(losses.every((entry) => Number.isFinite(entry["loss"]))).toBe(true);
  });

  it("lowers the loss scale in float16, where the gradient overflows, and the step does not count for the schedule", async () => {
    let calls = 0;
    // The loss itself is finite; times the scale it is not.
    const loss: LossFunction<CausalLM> = (model, inputs) => mul(modelLoss(model, inputs), ++calls <= 2 ? 1e35 : 1);
    const trainer = await trainBatches([learnable], { maxSteps: 4, fp16: true, lrSchedulerType: "linear" }, loss);
    const logged = trainer.state.logHistory.filter((entry) => "loss" in entry);
    expect(logged.map((entry) => entry["loss_scale"])).toEqual([32768, 16384, 16384, 16384]);
    expect(logged.map((entry) => entry["learning_rate"])).toEqual([1e-3, 1e-3, 1e-3, 0.75e-3]);
    expect(logged.at(-1)).toMatchObject({ skipped_steps: 2 });
  });
});

describe("stopping", () => {
  it("lets signals through between steps", async () => {
    const folder = outputFolder();
    const trainer = await makeTrainer({
      kind: "full",
      args: { maxSteps: 2000, saveStrategy: "no", outputDir: folder },
    });
    const timer = setTimeout(() => trainer.requestStop(), 150);
    const output = await trainer.train();
    clearTimeout(timer);
    expect(output.stopped).toBe(true);
    expect(output.globalStep).toBeLessThan(2000);
    expect(output.checkpoint).toBe(join(folder, `checkpoint-${output.globalStep}`));
    expect(JSON.parse(readFileSync(join(output.checkpoint ?? "", "trainer_state.json"), "utf8"))).toMatchObject({
      global_step: output.globalStep,
    });
  });

  it("before the first step does nothing", async () => {
    const folder = outputFolder();
    const { output } = await trainSmall({
      kind: "full",
      args: { maxSteps: 3, outputDir: folder },
      options: { signal: AbortSignal.abort() },
    });
    expect(output).toMatchObject({ stopped: true, globalStep: 0, checkpoint: undefined });
  });
});

describe("slots", () => {
  it("are claimed once", () => {
    const slots = new TrainerSlots<CausalLM>();
    slots.claim("collator", "padding-free", (standard) => standard);
    expect(() => slots.claim("collator", "other", (standard) => standard)).toThrow(
      "other wants to replace the collator, but padding-free already does.",
    );
    expect(slots.claims()).toEqual([{ slot: "collator", id: "padding-free", owner: "padding-free" }]);
  });

  it("have replacements of different names", () => {
    const slots = new TrainerSlots<CausalLM>();
    slots.claim("collator", "one", (standard) => standard, "mine");
    expect(() => slots.claim("loss", "two", (standard) => standard, "mine")).toThrow(
      'two wants to replace the loss as "mine", but one replaces the collator under this name.',
    );
  });
});

describe("a trainer", () => {
  it("trains again from the start when asked twice", async () => {
    const trainer = await makeTrainer({
      kind: "full",
      args: { maxSteps: 2, saveStrategy: "no", loggingSteps: 1, learningRate: 0 },
    });
    await trainer.train();
    const first = untimed(trainer.state.logHistory);
    await trainer.train();
    expect(untimed(trainer.state.logHistory)).toEqual(first);
    expect(first).toHaveLength(3);
  });

  it("says what it lacks", async () => {
    const model = await makeModel("full");
    const trainer = new Trainer<CausalLM>({ model, args: quiet, output: "silent" });
    await expect(trainer.train()).rejects.toThrow("the trainer has no training set");
    await expect(trainer.evaluate()).rejects.toThrow("the trainer has no evaluation set");
    expect(() => new Trainer<CausalLM>({ model, args: { ...quiet, evalStrategy: "epoch" } })).toThrow(
      "eval_strategy is epoch, but there is no evaluation set",
    );
    const empty = new Trainer<CausalLM>({ model, args: quiet, trainLoader: new BatchList([]), output: "silent" });
    await expect(empty.train()).rejects.toThrow("The training set (0 samples) makes no batch.");
    model.requiresGrad_(false);
    const frozen = new Trainer<CausalLM>({
      model,
      args: quiet,
      trainLoader: new BatchList([learnable]),
      output: "silent",
    });
    await expect(frozen.train()).rejects.toThrow("no parameter requires a gradient");
    expect(() => new BatchList([{ ...learnable, labels: new Int32Array(3) }])).toThrow(
      "batch 0: labels must have 2 × 4 elements, found 3.",
    );
  });
});
