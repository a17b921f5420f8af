/** One way of using a large checkpoint, in a process of its own. Prints what memory it began with and the most that it took, in bytes. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AutoModelForCausalLM, getPeftModel, LoraConfig, savePretrained, type CausalLM } from "@fms-accel/models";
import { Generator } from "@fms-accel/tensor";
import { SftTrainer } from "../../src/index.ts";

/** "lora" and "full" train a step and save; the adapter's base is converted to bfloat16. "merge" saves a model with an adapter in its weights. */
export type Task = "lora" | "full" | "merge";

export interface MemoryReport {
  /** Resident when the work began. */
  readonly before: number;
  /** The most that was resident at once before the first step, pages of mapped files among it; of merging: at all. */
  readonly loaded: number;
  /** The most at all. */
  readonly peak: number;
}

function status(field: "VmRSS" | "VmHWM"): number {
  const [, kilobytes] = new RegExp(`${field}:\\s+(\\d+) kB`).exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return Number(kilobytes) * 1024;
}

export default async function main(task: Task, checkpoint: string, output: string, lowMemory: string): Promise<void> {
  writeFileSync("/proc/self/clear_refs", "5"); // forgets the peak of starting
  const before = status("VmRSS");
  let loaded: number | undefined;
  const model = await run[task](checkpoint, output, lowMemory === "true");
  if (model !== undefined) await trainStep(model, output, () => (loaded = status("VmHWM")));
  const peak = status("VmHWM");
  const report: MemoryReport = { before, loaded: loaded ?? peak, peak };
  process.stdout.write(`${JSON.stringify(report)}\n`);
}

const run: Readonly<
  Record<Task, (checkpoint: string, output: string, lowMemory: boolean) => Promise<CausalLM | undefined>>
> = {
  async lora(checkpoint, output, lowMemory) {
    const base = await AutoModelForCausalLM.fromPretrained(checkpoint, { dtype: "bfloat16", lowMemory });
    return adapted(base);
  },
  async full(checkpoint, output, lowMemory) {
    return AutoModelForCausalLM.fromPretrained(checkpoint, { dtype: "float32", lowMemory });
  },
  async merge(checkpoint, output, lowMemory) {
    const model = adapted(await AutoModelForCausalLM.fromPretrained(checkpoint, { dtype: "float32", lowMemory }));
    if (lowMemory) model.saveMerged(output);
    else savePretrained(model.mergeAndUnload(), output);
    return undefined;
  },
};

function adapted(base: CausalLM): ReturnType<typeof getPeftModel> {
  const config = new LoraConfig({ r: 4, targetModules: "all-linear", initLoraWeights: false });
  return getPeftModel(base, config, { generator: new Generator(3) });
}

async function trainStep(model: CausalLM, outputDir: string, onLoaded: () => void): Promise<void> {
  const samples = join(outputDir, "samples.jsonl");
  writeFileSync(samples, `${JSON.stringify({ input_ids: Array.from({ length: 24 }, (_, i) => 7 * i) })}\n`);
  const args = { outputDir, maxSteps: 1, saveSteps: 1, saveOnlyModel: true, learningRate: 1e-3 };
  const callbacks = [{ onTrainBegin: onLoaded }];
  await new SftTrainer({ model, args, trainDataset: samples, callbacks, output: "silent" }).train();
}
