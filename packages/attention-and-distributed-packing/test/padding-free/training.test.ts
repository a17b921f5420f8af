/** Whole training runs with the plugin: the losses, and the weights at the end, are those of padded batches. */
import { AccelerationFramework } from "@fms-accel/framework";
import { AutoModelForCausalLM, AutoTokenizer, type CausalLM, getPeftModel, LoraConfig } from "@fms-accel/models";
import { manualSeed } from "@fms-accel/tensor";
import { fixturePath, relativeDifference, temporaryDirectory } from "@fms-accel/test-utilities";
import {
  InMemoryDataset,
  loadDataset,
  resolveTrainingArguments,
  SftTrainer,
  type SftTrainerOptions,
  type TrainingArgumentsInput,
} from "@fms-accel/trainer";
import { describe, expect, test } from "vitest";
import { plugins } from "../../src/plugins.ts";

const registration = {
  packageName: "@fms-accel/attention-and-distributed-packing",
  version: "0.0.0",
  directory: undefined,
  manifest: { shortname: "aadp", entry: ".", paths: ["training.attention.padding_free"], options: ["padding_free"] },
  plugins: plugins.slice(0, 1),
};

interface Setting {
  readonly data?: SftTrainerOptions<CausalLM>["data"];
  readonly trainDataset: Awaited<ReturnType<typeof loadDataset>>;
  readonly args?: TrainingArgumentsInput;
  readonly lora?: boolean;
  readonly model?: Record<string, unknown>;
}

const tokenizer = await AutoTokenizer.fromPretrained(fixturePath("data", "tokenizer", "byte-level"));

/** A small Mistral whose window is shorter than most samples. */
const MODEL = {
  model_type: "mistral",
  architectures: ["MistralForCausalLM"],
  vocab_size: 1024,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
  sliding_window: 7,
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
  rope_theta: 10_000,
  hidden_act: "silu",
  tie_word_embeddings: false,
};

async function run(setting: Setting, isPaddingFree: boolean) {
  manualSeed(3);
  const model: CausalLM = AutoModelForCausalLM.fromConfig({ ...MODEL, ...setting.model }, { dtype: "float32" });
  const said: string[] = [];
  const framework = isPaddingFree
    ? await AccelerationFramework.create({
        configuration: { plugins: { training: { attention: { padding_free: { method: "huggingface" } } } } },
        environment: {},
        plugins: { registrations: [registration] },
        say: (line) => said.push(line),
      })
    : undefined;
  const adapted =
    setting.lora === true
      ? getPeftModel(model, new LoraConfig({ r: 4, loraAlpha: 8, loraDropout: 0, targetModules: "all-linear" }))
      : model;
  const args: TrainingArgumentsInput = {
    outputDir: temporaryDirectory(),
    perDeviceTrainBatchSize: 3,
    perDeviceEvalBatchSize: 4,
    gradientAccumulationSteps: 2,
    numTrainEpochs: 2,
    learningRate: 1e-3,
    loggingSteps: 1,
    evalStrategy: "epoch",
    saveStrategy: "no",
    ...setting.args,
  };
  const augmented = await framework?.augment({
    model,
    args: resolveTrainingArguments(args).training,
    peftConfig: undefined,
  });
  const trainer = new SftTrainer<CausalLM>({
    model: adapted,
    tokenizer,
    trainDataset: setting.trainDataset,
    evalDataset: setting.trainDataset,
    data: setting.data ?? {},
    args,
    output: "silent",
    ...(augmented && { slots: augmented.slots }),
  });
  framework?.readyForTrain({ model: adapted, args: trainer.args });
  await trainer.train();
  const history = trainer.state.logHistory;
  const numbers = (key: string): number[] =>
    history.flatMap((entry) => (typeof entry[key] === "number" ? [entry[key]] : []));
  const weights = new Map<string, Float32Array>();
  for (const [name, parameter] of adapted.namedParameters())
    if (parameter.requiresGrad) weights.set(name, parameter.toFloat32Array());
  return { losses: numbers("loss"), gradNorms: numbers("grad_norm"), evalLosses: numbers("eval_loss"), weights, said };
}

async function expectSameRun(setting: Setting): Promise<string[]> {
  const padded = await run(setting, false);
  const flat = await run(setting, true);
  expect(padded.losses.length).toBeGreaterThan(3);
  expect(padded.evalLosses.length).toBeGreaterThan(1);
  for (const key of ["losses", "gradNorms", "evalLosses"] as const) {
    expect(flat[key].length).toBe(padded[key].length);
    expect(relativeDifference(flat[key], padded[key]), key).toBeLessThan(1e-5);
  }
  for (const [name, values] of flat.weights) {
    expect(relativeDifference(values, padded.weights.get(name)!), name).toBeLessThan(1e-4);
  }
  return flat.said;
}

const pretokenised = await loadDataset(fixturePath("curves", "full-llama", "train.jsonl"));
const texts = new InMemoryDataset(
  Array.from({ length: 14 }, (_, i) => ({
    text: `### Question: what comes after ${"one ".repeat((i * 5) % 9)}?\n### Response: ${"two ".repeat(1 + ((i * 3) % 7))}`,
  })),
);
const pairs = new InMemoryDataset(
  Array.from({ length: 11 }, (_, i) => ({
    input: `Say it ${"again ".repeat(i % 4)}`,
    output: "yes ".repeat(1 + (i % 5)),
  })),
);

describe("padding-free training is padded training", () => {
  test("pretokenised samples", async () => {
    const said = await expectSameRun({ trainDataset: pretokenised });
    expect(said.join("\n")).toContain("Active Plugin: PaddingFreeAccelerationPlugin.");
    expect(said.join("\n")).toMatch(/Rule: padding-free +Module: model +Class: MistralModel +Num: +1/);
    expect(said.join("\n")).toContain("flattening-collator");
    expect(said.join("\n")).not.toContain("so these layers use the engine's attention");
  });

  test("raw texts, of which only the answers are trained", async () => {
    await expectSameRun({
      trainDataset: texts,
      data: { datasetTextField: "text", responseTemplate: "\n### Response:" },
    });
  });

  test("pairs of input and output, with LoRA and gradient checkpointing", async () => {
    await expectSameRun({ trainDataset: pairs, lora: true, args: { gradientCheckpointing: true, learningRate: 1e-2 } });
  });
});

test("attention dropout is said to need the engine's attention", async () => {
  const { said } = await run(
    { trainDataset: pretokenised, model: { attention_dropout: 0.1 }, args: { maxSteps: 2 } },
    true,
  );
  const lines = said.filter((line) => line.startsWith("padding_free:"));
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain("dropped at random (with probability 0.1)");
});
