/** The estimate of memory against what real runs take, and that a dry run takes nothing. */
import { AutoModelForCausalLM, getPeftModel, LoraConfig, type CausalLM } from "@fms-accel/models";
import { dryRun, memoryStats, randn, releaseCachedMemory, resetPeakMemory } from "@fms-accel/tensor";
import { readJsonFixture } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import {
  measureTrainingMemory,
  resolveTrainingArguments,
  Trainer,
  type TrainingArgumentsInput,
} from "../../src/index.ts";
import { BatchList } from "../../src/training/batch.ts";

type Json = Record<string, unknown>;
type DType = "float32" | "bfloat16";

interface Case {
  readonly model: string;
  readonly changes?: Json;
  readonly dtype: DType;
  readonly lora?: boolean;
  readonly args?: TrainingArgumentsInput;
  readonly rows: number;
  readonly width: number;
}

/** What the measured peak of tensors may differ from the estimated one, as a share of it. */
const ALLOWED = 0.001;

const wide = {
  hidden_size: 192,
  intermediate_size: 512,
  num_hidden_layers: 4,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 32,
  vocab_size: 3000,
  max_position_embeddings: 512,
};

const CASES: readonly Case[] = [
  { model: "llama", changes: wide, dtype: "float32", rows: 2, width: 96 },
  { model: "llama", changes: wide, dtype: "bfloat16", rows: 3, width: 128 },
  { model: "llama", changes: wide, dtype: "float32", args: { bf16: true }, rows: 2, width: 128 },
  { model: "llama", changes: wide, dtype: "bfloat16", lora: true, args: { bf16: true }, rows: 2, width: 200 },
  { model: "llama", changes: wide, dtype: "bfloat16", args: { gradientCheckpointing: true }, rows: 4, width: 128 },
  {
    model: "llama",
    changes: wide,
    dtype: "float32",
    lora: true,
    args: { gradientCheckpointing: true },
    rows: 2,
    width: 64,
  },
  { model: "llama", changes: wide, dtype: "float32", args: { gradientAccumulationSteps: 3 }, rows: 1, width: 80 },
  { model: "llama", changes: wide, dtype: "float32", args: { fp16: true }, rows: 1, width: 80 },
  { model: "gemma2", dtype: "float32", rows: 3, width: 40 },
  { model: "gemma3_text", dtype: "bfloat16", rows: 3, width: 40 },
  { model: "gpt2", dtype: "float32", rows: 2, width: 60 },
  {
    model: "gpt2",
    changes: { attn_pdrop: 0.1, embd_pdrop: 0.1, resid_pdrop: 0.1 },
    dtype: "float32",
    rows: 2,
    width: 60,
  },
  { model: "gpt_neox", dtype: "float32", args: { gradientCheckpointing: true }, rows: 2, width: 60 },
  { model: "gpt_bigcode", dtype: "bfloat16", rows: 2, width: 60 },
  { model: "phi3", dtype: "float32", lora: true, rows: 2, width: 60 },
  { model: "olmo2", dtype: "bfloat16", rows: 2, width: 60 },
  { model: "llama-longrope", dtype: "float32", rows: 2, width: 60 },
];

/** Random routing is not even: experts' own temporaries differ. */
const EXPERT_CASES: readonly Case[] = [
  { model: "mixtral", dtype: "float32", rows: 4, width: 100 },
  { model: "granitemoe", dtype: "float32", args: { gradientCheckpointing: true }, rows: 4, width: 100 },
  { model: "granitemoeshared", dtype: "bfloat16", rows: 4, width: 100 },
  { model: "qwen3_moe", dtype: "float32", lora: true, rows: 4, width: 100 },
];

function makeModel({ model, changes = {}, dtype, lora = false }: Case): CausalLM {
  const json = readJsonFixture<Json>("models", model, "config.json");
  const base = AutoModelForCausalLM.fromConfig({ ...json, ...changes }, { dtype, onWarning: () => {} });
  if (!lora) return base;
  return getPeftModel(base, new LoraConfig({ r: 4, targetModules: "all-linear" }), { onWarning: () => {} });
}

/** Peak of tensors over three real steps, without what was live before. */
async function measured(run: Case): Promise<number> {
  const { rows, width } = run;
  const before = memoryStats().liveBytes;
  const model = makeModel(run);
  const { vocabSize } = model.config;
  const ids = Int32Array.from({ length: rows * width }, (_, at) => (at * 7919 + 13) % vocabSize);
  const batch = {
    shape: [rows, width],
    inputIds: ids,
    labels: ids,
    tokens: rows * width,
    trainableTokens: rows * (width - 1),
  } as const;
  resetPeakMemory();
  const accumulation = run.args?.gradientAccumulationSteps ?? 1;
  const trainer = new Trainer({
    model,
    args: { ...run.args, maxSteps: 3, saveStrategy: "no", learningRate: 1e-3 },
    trainLoader: new BatchList(Array.from({ length: 3 * accumulation }, () => batch)),
    output: "silent",
  });
  await trainer.train();
  const { peakBytes } = memoryStats();
  for (const [, parameter] of model.namedParameters()) parameter.dispose();
  model.dispose();
  return peakBytes - before;
}

async function estimated(run: Case): Promise<number> {
  const { training } = resolveTrainingArguments({ ...run.args, saveStrategy: "no" });
  return (await measureTrainingMemory(() => makeModel(run), training, run)).peak;
}

function describeCase({ model, dtype, lora, args, rows, width }: Case): string {
  return `${model} ${dtype} ${lora === true ? "lora" : "full"} ${JSON.stringify(args ?? {})} ${rows} × ${width}`;
}

describe("the estimated peak", () => {
  it.each([...CASES, ...EXPERT_CASES].map((run) => [describeCase(run), run] as const))(
    "of %s is that of a real run",
    async (name, run) => {
      const allowed = EXPERT_CASES.includes(run) ? 0.02 : ALLOWED;
      const guess = await estimated(run);
      const truth = await measured(run);

      expect(Math.abs(guess / truth - 1), `${name}: estimated ${guess}, measured ${truth}`).toBeLessThanOrEqual(
        allowed,
      );
    },
  );
});

describe("a dry run", () => {
  it("takes address space and no memory", async () => {
    const resident = process.memoryUsage.rss();
    const held = await dryRun(() => {
      const tensors = Array.from({ length: 8 }, () => randn([16_384, 16_384]));
      const { liveBytes } = memoryStats();
      for (const tensor of tensors) tensor.dispose();
      return liveBytes;
    });
    expect(held).toBeGreaterThanOrEqual(8 * 2 ** 30);
    expect(process.memoryUsage.rss() - resident).toBeLessThan(2 ** 28);
    releaseCachedMemory();
    expect(memoryStats().cachedBytes).toBe(0);
  });

  it("leaves random numbers as they were, and computing works afterwards", async () => {
    const [first, second] = [randn([3]), randn([3])];
    const before = memoryStats().liveTensors;
    await dryRun(() => randn([3]).dispose());
    expect(memoryStats().liveTensors).toBe(before);
    expect(first.toArray()).not.toEqual(second.toArray());
    expect(
      randn([1000])
        .toArray()
        .some((value) => value !== 0),
    ).toBe(true);
  });

  it("ends with the error of its body, and does not nest", async () => {
    await expect(dryRun(() => Promise.reject(new Error("inside")))).rejects.toThrow("inside");
    await expect(dryRun(() => dryRun(() => 1))).rejects.toThrow(/under way/);
    expect(
      randn([10])
        .toArray()
        .every((value) => value !== 0),
    ).toBe(true);
  });
});
