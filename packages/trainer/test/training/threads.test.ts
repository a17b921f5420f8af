/** The same seed gives the same bits with one and with two threads. */
import { AutoModelForCausalLM, getPeftModel, LoraConfig, modelTensors, PeftModel } from "@fms-accel/models";
import { engineInfo, Generator, setNumThreads } from "@fms-accel/tensor";
import { afterAll, describe, expect, it } from "vitest";
import { BatchList, Trainer, type Batch, type LogEntry, type TrainingArgumentsInput } from "../../src/index.ts";
import { untimed } from "./small-run.ts";

const threads = engineInfo().threads;
afterAll(() => setNumThreads(threads));

/** Large enough that products, reductions and the optimiser are split over threads. */
const config = {
  model_type: "llama",
  architectures: ["LlamaForCausalLM"],
  vocab_size: 700,
  hidden_size: 192,
  intermediate_size: 512,
  num_hidden_layers: 2,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  max_position_embeddings: 256,
  hidden_act: "silu",
  rms_norm_eps: 1e-5,
};

function batches(): Batch[] {
  const [rows, width] = [4, 130];
  return [1, 2].map((seed) => {
    const inputIds = Int32Array.from(
      { length: rows * width },
      (_, index) => (index * 37 * seed + ((index * index) % 101)) % 700,
    );
    const labels = inputIds.map((id, index) => (index % 7 === 0 ? -100 : id));
    let trainableTokens = 0;
    for (const [index, label] of labels.entries()) if (index % width > 0 && label !== -100) trainableTokens++;
    return { shape: [rows, width], inputIds, labels, tokens: rows * width, trainableTokens };
  });
}

async function run(
  count: number,
  kind: "full" | "lora",
  args: TrainingArgumentsInput,
): Promise<{ bytes: Buffer; log: LogEntry[] }> {
  setNumThreads(count);
  const base = AutoModelForCausalLM.fromConfig(config, { dtype: "float32", seed: 3 });
  const lora = new LoraConfig({ r: 8, loraDropout: 0.1, targetModules: "all-linear" });
  const model = kind === "full" ? base : getPeftModel(base, lora, { generator: new Generator(1) });
  const trainer = new Trainer({
    model,
    args: { maxSteps: 3, saveStrategy: "no", loggingSteps: 1, learningRate: 1e-3, weightDecay: 0.1, ...args },
    trainLoader: new BatchList(batches()),
    output: "silent",
  });
  await trainer.train();
  const tensors = model instanceof PeftModel ? model.adapterStateDict() : modelTensors(model);
  const bytes = Buffer.concat([...tensors.values()].map((tensor) => tensor.toBytes()));
  model.dispose();
  return { bytes, log: untimed(trainer.state.logHistory) };
}

describe.each([
  ["all weights in float32", "full", {}],
  ["an adapter with dropout in float32", "lora", {}],
  ["all weights in bfloat16, recomputed", "full", { bf16: true, gradientCheckpointing: true }],
] as const)("%s", (_, kind, args) => {
  it("has the same bits with 1, 2 and 3 threads", async () => {
    const one = await run(1, kind, args);
    for (const count of [2, 3]) {
      const several = await run(count, kind, args);
      expect(several.log).toEqual(one.log);
      expect(several.bytes.equals(one.bytes)).toBe(true);
    }
  });
});
