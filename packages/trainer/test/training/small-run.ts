/** A small run of the Llama fixture, and what of it must be the same to the bit when it is interrupted and resumed. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { AutoModelForCausalLM, getPeftModel, LoraConfig, type CausalLM } from "@fms-accel/models";
import { fixturePath, temporaryDirectory } from "@fms-accel/test-utilities";
import { Generator } from "@fms-accel/tensor";
import {
  loadDataset,
  SftTrainer,
  type Communicator,
  type LogEntry,
  type TrainerCallback,
  type TrainingArgumentsInput,
  type TrainOptions,
  type TrainOutput,
} from "../../src/index.ts";

const root = temporaryDirectory();
let folders = 0;

/** A folder of its own for a run; not made yet. */
export function outputFolder(): string {
  return join(root, `run-${folders++}`);
}

export interface SmallRun {
  /** "full" trains every weight, "lora" an adapter with dropout. */
  readonly kind: "full" | "lora";
  readonly args: TrainingArgumentsInput;
  readonly callbacks?: readonly TrainerCallback<CausalLM>[];
  readonly options?: TrainOptions;
  readonly communicator?: Communicator;
}

export async function makeModel(kind: SmallRun["kind"]): Promise<CausalLM> {
  const model = await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama"), { dtype: "float32" });
  if (kind === "full") return model;
  const config = new LoraConfig({ r: 4, loraAlpha: 8, loraDropout: 0.1, targetModules: "all-linear" });
  return getPeftModel(model, config, { generator: new Generator(7) });
}

export async function makeTrainer({
  kind,
  args,
  callbacks,
  communicator,
}: Omit<SmallRun, "options">): Promise<SftTrainer<CausalLM>> {
  const samples = fixturePath("curves", "full-llama", "train.jsonl");
  return new SftTrainer<CausalLM>({
    model: await makeModel(kind),
    args: {
      perDeviceTrainBatchSize: 4,
      gradientAccumulationSteps: 2,
      learningRate: 2e-3,
      lrSchedulerType: "cosine",
      ...args,
    },
    trainDataset: await loadDataset(samples),
    evalDataset: await loadDataset(samples),
    ...(callbacks === undefined ? {} : { callbacks }),
    ...(communicator === undefined ? {} : { communicator }),
    output: "silent",
  });
}

export async function trainSmall(run: SmallRun): Promise<{ trainer: SftTrainer<CausalLM>; output: TrainOutput }> {
  const trainer = await makeTrainer(run);
  return { trainer, output: await trainer.train(run.options) };
}

const timings = /runtime|_per_second/;

/** log_history without its timings. */
export function untimed(history: readonly LogEntry[]): LogEntry[] {
  return history.map((entry) => Object.fromEntries(Object.entries(entry).filter(([key]) => !timings.test(key))));
}

/** What a checkpoint must have to the bit: weights, optimiser, schedule, generator, scale, and the place in the data. */
export function checkpointDigest(directory: string, kind: SmallRun["kind"], ranks = 1): Record<string, unknown> {
  const hash = (name: string): string =>
    createHash("sha256")
      .update(readFileSync(join(directory, name)))
      .digest("hex");
  const state = JSON.parse(readFileSync(join(directory, "trainer_state.json"), "utf8")) as Record<string, unknown> & {
    log_history: LogEntry[];
  };
  const { sequence: _, ...loop } = JSON.parse(readFileSync(join(directory, "loop_state.json"), "utf8")) as Record<
    string,
    unknown
  >;
  return {
    weights: hash(kind === "full" ? "model.safetensors" : "adapter_model.safetensors"),
    optimizer: hash("optimizer.safetensors"),
    scheduler: hash("scheduler.json"),
    generators:
      ranks === 1
        ? [hash("rng_state.json")]
        : Array.from({ length: ranks }, (_, rank) => hash(`rng_state_${rank}.json`)),
    loop,
    state: { ...state, best_model_checkpoint: null, log_history: untimed(state.log_history) },
  };
}
