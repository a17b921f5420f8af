import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { flags, output, run } from "./command.ts";
import { heldOutData, loraFlags, trainTinyBase, trainingData } from "./tiny-run.ts";

const folder = mkdtempSync(join(tmpdir(), "fms-accel-adapters-"));
const at = (...path: string[]): string => join(folder, ...path);
const json = (text: string): Record<string, unknown> => JSON.parse(text) as Record<string, unknown>;
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function lossOf(...argv: string[]): Promise<number> {
  return Number(json(await output(["evaluate", ...argv, "--data", heldOutData, "--json"]))["loss"]);
}

let base = "";
beforeAll(async () => {
  base = await trainTinyBase(folder);
}, 120_000);

describe("prompt tuning, as a user runs it", () => {
  const promptFlags = (out: string, more: Parameters<typeof flags>[0] = {}): string[] =>
    flags({
      model_name_or_path: base,
      training_data_path: trainingData,
      output_dir: at(out),
      torch_dtype: "float32",
      peft_method: "pt",
      num_virtual_tokens: 6,
      prompt_tuning_init_text: "What can the fox do?",
      per_device_train_batch_size: 4,
      learning_rate: 0.1,
      max_steps: 24,
      save_steps: 16,
      ...more,
    });
  const weights = (out: string): Buffer => readFileSync(at(out, "adapter_model.safetensors"));

  it("trains vectors in PEFT's layout, which lower the loss, and resumes to the bit", async () => {
    await output(["train", ...promptFlags("prompt")]);
    const config = json(readFileSync(at("prompt", "adapter_config.json"), "utf8"));
    expect(config).toMatchObject({
      peft_type: "PROMPT_TUNING",
      num_virtual_tokens: 6,
      prompt_tuning_init: "TEXT",
      prompt_tuning_init_text: "What can the fox do?",
      tokenizer_name_or_path: base,
      token_dim: 32,
    });
    await output(["train", ...promptFlags("begun", { max_steps: 1, learning_rate: 1e-9 })]);
    expect(await lossOf(base, "--adapter", at("prompt"))).toBeLessThan(await lossOf(base, "--adapter", at("begun")));
    await output(["train", ...promptFlags("resumed", { resume_from_checkpoint: at("prompt", "checkpoint-16") })]);
    expect(weights("resumed").equals(weights("prompt"))).toBe(true);
  }, 60_000);

  it("answers with them, goes on training them, and says that they cannot be merged", async () => {
    const use = [base, "--adapter", at("prompt")];
    const asked = ["--prompt", "Who is red?", "And green?", "--json", "--max_new_tokens", "5"];
    expect((await output(["generate", ...use, ...asked])).trim().split("\n")).toHaveLength(2);
    const more = { max_steps: 2, save_strategy: "no", adapter: at("prompt") };
    const all = promptFlags("further", more);
    const argv = all.filter((_, index) => !/^--(peft|num|prompt)/.test(all[index - (index % 2)] ?? ""));
    await output(["train", ...argv]);
    expect(weights("further").equals(weights("prompt"))).toBe(false);
    const merged = await run(["merge", ...use, "--output_dir", at("merged-prompt")]);
    expect([merged.code, merged.notes]).toEqual([1, expect.stringContaining("of prompt tuning")]);
  }, 60_000);

  it("refuses flags of the other method", async () => {
    const wrong = await run(["train", ...promptFlags("wrong", { r: 4 })]);
    expect([wrong.code, wrong.notes]).toEqual([
      1,
      expect.stringContaining("--r: no effect without --peft_method lora"),
    ]);
  });
});

describe("several adapters", () => {
  beforeAll(async () => {
    await output(["train", ...loraFlags(base, at("one"), { max_steps: 6 })]);
    await output(["train", ...loraFlags(base, at("two"), { max_steps: 6, r: 2, seed: 7 })]);
  }, 120_000);
  const both = (): string[] => [base, "--adapter", at("one"), "--adapter", at("two")];

  it("are added up, or weighted; merged they give the same loss", async () => {
    const [one, sum, weighted, only] = [
      await lossOf(base, "--adapter", at("one")),
      await lossOf(...both()),
      await lossOf(...both(), "--adapter_weights", "0.7", "0.3"),
      await lossOf(...both(), "--adapter_weights", "1", "0"),
    ];
    expect(only).toBeCloseTo(one, 5);
    expect(new Set([one, sum, weighted].map((loss) => loss.toFixed(4))).size).toBe(3);
    await output(["merge", ...both(), "--adapter_weights", "0.7", "0.3", "--output_dir", at("merged")]);
    expect(await lossOf(at("merged"))).toBeCloseTo(weighted, 5);
    const pieces = ["--low_memory", "--output_dir", at("merged-in-pieces")];
    await output(["merge", ...both(), "--adapter_weights", "0.7", "0.3", ...pieces]);
    for (const file of ["model.safetensors", "config.json", "generation_config.json"]) {
      expect(readFileSync(at("merged-in-pieces", file))).toEqual(readFileSync(at("merged", file)));
    }
    const near = [...both(), "--adapter_weights", "0.7", "0.3", "--adapter_combination", "svd"];
    expect(Math.abs((await lossOf(...near)) - weighted)).toBeLessThan(Math.abs(sum - weighted));
    await output(["generate", ...both(), "--adapter_weights", "0.7", "0.3", "--prompt", "a", "--max_new_tokens", "2"]);
  }, 60_000);

  it.each<[what: string, flags: string[], complaint: string]>([
    ["too few weights", ["--adapter_weights", "1"], "found 1 for 2"],
    ["weights that are none", ["--adapter_weights", "1", "half"], 'expected numbers, found "half"'],
    ["ranks that cannot be summed", ["--adapter_weights", "1", "1", "--adapter_combination", "linear"], "one rank"],
    ["a combination without weights", ["--adapter_combination", "linear"], "no effect without --adapter_weights"],
  ])("refuse %s", async (_, more, complaint) => {
    const { code, notes } = await run(["generate", ...both(), ...more, "--prompt", "a"]);
    expect([code, notes]).toEqual([1, expect.stringContaining(complaint)]);
  });
});
