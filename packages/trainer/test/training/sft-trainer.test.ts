import { writeFileSync, mkdirSync, existsSync } from "node:fs";
import { join } from "node:path";
import { AutoTokenizer, type CausalLM } from "@fms-accel/models";
import { fixturePath } from "@fms-accel/test-utilities";
import { memoryStats } from "@fms-accel/tensor";
import { describe, expect, it } from "vitest";
import { InMemoryDataset, SftTrainer, TrainerSlots, type Batch, type Row } from "../../src/index.ts";
import { makeModel, makeTrainer, outputFolder } from "./small-run.ts";

const rows: Row[] = [[5, 6, 7, 8, 9], [10, 11], [], [12, 13, 14, 15, 16, 17, 18, 19]].map((ids) => ({
  input_ids: ids,
}));
const quiet = {
  saveStrategy: "no",
  loggingSteps: 1,
  maxSeqLength: 6,
  perDeviceTrainBatchSize: 2,
  maxSteps: 2,
} as const;

/** Collects what a terminal would show. */
function screen(): { readonly write: (text: string) => unknown; text: string } {
  return {
    text: "",
    write(text) {
      this.text += text;
    },
  };
}

describe("fine-tuning on a data set", () => {
  it("counts and shows what was cut and dropped", async () => {
    const output = screen();
    const trainer = new SftTrainer<CausalLM>({
      model: await makeModel("full"),
      args: quiet,
      trainDataset: new InMemoryDataset(rows),
      output,
    });
    expect(trainer.datasetReport("train")).toBeUndefined();
    await trainer.prepare();
    expect(output.text).toContain("Training set: 3 samples of 4 rows, 13 tokens, 10 of them trained.");
    expect(output.text).toMatch(/1 .*cut off/);
    expect(trainer.datasetReport("train")).toMatchObject({ samples: 3, truncatedTokens: 2 });
    const { globalStep } = await trainer.train();
    expect(globalStep).toBe(2);
  });

  it("reads a path, evaluates, and saves model and tokenizer together", async () => {
    const folder = outputFolder();
    mkdirSync(folder);
    const path = join(folder, "data.jsonl");
    writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    const tokenizer = await AutoTokenizer.fromPretrained(fixturePath("models", "llama"));
    const trainer = new SftTrainer<CausalLM>({
      model: await makeModel("lora"),
      args: { ...quiet, outputDir: join(folder, "out"), evalSteps: 1 },
      tokenizer,
      trainDataset: path,
      evalDataset: path,
      output: "silent",
    });
    await trainer.train();
    await trainer.saveModel();
    for (const name of ["adapter_model.safetensors", "tokenizer.json", "trainer_state.json"]) {
      expect(existsSync(join(folder, "out", name))).toBe(true);
    }
    expect(trainer.state.logHistory.filter((entry) => "eval_loss" in entry)).toHaveLength(2);
  });

  it("lets slots replace collator, sampler, loader and loss", async () => {
    const slots = new TrainerSlots<CausalLM>();
    const seen: Batch[] = [];
    const calls: string[] = [];
    slots.claim("collator", "a", (standard, { lengths }) => {
      calls.push(`collator ${lengths.join()}`);
      return (samples) => {
        const batch = standard(samples);
        seen.push(batch);
        return batch;
      };
    });
    slots.claim("batchSampler", "b", (standard) => ({ batchCount: () => standard.batchCount(0), batch: () => [1] }));
    slots.claim("dataLoader", "c", (standard) => {
      calls.push(`loader ${standard.sampleCount}`);
      return standard;
    });
    slots.claim("loss", "d", (standard) => (model, inputs) => {
      calls.push(`loss ${String(inputs.numItemsInBatch)}`);
      return standard(model, inputs);
    });
    const trainer = new SftTrainer<CausalLM>({
      model: await makeModel("full"),
      args: quiet,
      trainDataset: new InMemoryDataset(rows),
      slots,
      output: "silent",
    });
    await trainer.train();
    expect(seen.map(({ inputIds }) => [...inputIds])).toEqual([
      [10, 11],
      [10, 11],
    ]);
    expect(calls).toEqual(["collator 5,2,6", "loader 3", "loss 1", "loss 1"]);
  });

  it("waits for a sampler to plan an epoch, and counts epochs of different lengths", async () => {
    const slots = new TrainerSlots<CausalLM>();
    const planned = new Set<number>();
    const counts = [3, 1, 2];
    const sets: string[] = [];
    slots.claim("batchSampler", "packs", async (_, { set, padTokenId }) => {
      sets.push(`${set} ${padTokenId}`);
      return {
        async prepareEpoch(epoch) {
          await new Promise((resolve) => setImmediate(resolve));
          planned.add(epoch);
        },
        batchCount(epoch) {
          if (!planned.has(epoch)) throw new Error(`epoch ${epoch} is not planned`);
          return counts[epoch] ?? 0;
        },
        batch: () => [1],
      };
    });
    slots.claim("dataLoader", "loads", async (standard, { samples, batchSampler, collator, set }) => {
      sets.push(set);
      await batchSampler.prepareEpoch?.(0);
      expect([samples.length, batchSampler.batchCount(0)]).toEqual([3, 3]);
      expect([...collator([samples.sample(1)]).inputIds]).toEqual([10, 11]);
      return standard;
    });
    const ends: number[] = [];
    const { maxSteps: _, ...args } = quiet;
    const trainer = new SftTrainer<CausalLM>({
      model: await makeModel("full"),
      args: { ...args, numTrainEpochs: 2.5, perDeviceEvalBatchSize: 1, evalOnStart: true },
      trainDataset: new InMemoryDataset(rows),
      evalDataset: new InMemoryDataset(rows),
      slots,
      callbacks: [{ onEpochEnd: ({ state }) => void ends.push(state.globalStep) }],
      output: "silent",
    });
    const { globalStep } = await trainer.train();
    // 3 + 1 + half of 2.
    expect(globalStep).toBe(5);
    expect(trainer.state).toMatchObject({ maxSteps: 5, numTrainEpochs: 3 });
    expect(ends).toEqual([3, 4, 5]);
    expect(sets).toEqual(["train 0", "train"]);
  });

  it("holds no more memory after many steps than after a few", async () => {
    const live: number[] = [];
    const bytes: number[] = [];
    const trainer = await makeTrainer({
      kind: "lora",
      args: {
        maxSteps: 12,
        saveStrategy: "no",
        loggingSteps: 1,
        trainSamplingStrategy: "sequential",
        evalSteps: 3,
        fp16: true,
      },
      callbacks: [
        {
          onStepEnd() {
            const { liveTensors, liveBytes } = memoryStats();
            live.push(liveTensors);
            bytes.push(liveBytes);
          },
        },
      ],
    });
    await trainer.train();
    expect(new Set(live.slice(1)).size).toBe(1);
    expect(new Set(bytes.slice(1)).size).toBe(1);
  });
});
