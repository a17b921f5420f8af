import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { output, run } from "./command.ts";
import { heldOutData, loraFlags, trainTinyBase, trainingData } from "./tiny-run.ts";

const folder = mkdtempSync(join(tmpdir(), "fms-accel-commands-"));
const at = (...path: string[]): string => join(folder, ...path);
const json = (text: string): Record<string, unknown> => JSON.parse(text) as Record<string, unknown>;
const jsonLines = (text: string): Record<string, unknown>[] => text.trim().split("\n").map(json);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What `evaluate --json` prints. */
async function evaluate(...argv: string[]): Promise<Record<string, unknown>> {
  return json(await output(["evaluate", ...argv, "--data", heldOutData, "--json"]));
}

/** Answers to the held-out questions. */
async function ask(...argv: string[]): Promise<Record<string, unknown>[]> {
  return jsonLines(
    await output(["generate", ...argv, "--prompt_file", heldOutData, "--json", "--max_new_tokens", "8"]),
  );
}

describe("train, evaluate, generate and merge, as a user runs them", () => {
  let base = "";
  const adapter = at("adapter");

  beforeAll(async () => {
    base = await trainTinyBase(folder);
    const yaml = "target_modules: [q_proj, v_proj, down_proj]\nr: 6\nmax_steps: 500\nlogging_steps: 5\n";
    writeFileSync(at("run.yaml"), yaml);
    const argv = loraFlags(base, adapter, { max_steps: 20 }).join(" ");
    const flagsOnly = argv.replace(" --target_modules all-linear", "").replace(" --r 4", "").split(" ");
    await output(["train", "--config", at("run.yaml"), ...flagsOnly]);
  }, 120_000);

  it("trains a new model into Hugging Face's layout, tokenizer included", () => {
    for (const file of [
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
      "trainer_state.json",
      "training_logs.jsonl",
    ]) {
      expect(existsSync(join(base, file)), file).toBe(true);
    }
  });

  it("trains an adapter: flags win over the file, the file over defaults", () => {
    const config = json(readFileSync(join(adapter, "adapter_config.json"), "utf8"));
    expect(config).toMatchObject({ r: 6, lora_alpha: 8, lora_dropout: 0.05, base_model_name_or_path: base });
    expect((config["target_modules"] as string[]).toSorted()).toEqual(["down_proj", "q_proj", "v_proj"]);
    const state = json(readFileSync(join(adapter, "trainer_state.json"), "utf8"));
    expect(state).toMatchObject({ global_step: 20, max_steps: 20, logging_steps: 5 });
  });

  it("goes on with an adapter", async () => {
    const argv = [
      "--model_name_or_path",
      base,
      "--adapter",
      adapter,
      "--training_data_path",
      trainingData,
      "--torch_dtype",
      "float32",
    ];
    await output(["train", ...argv, "--output_dir", at("further"), "--max_steps", "3", "--save_strategy", "no"]);
    const config = json(readFileSync(at("further", "adapter_config.json"), "utf8"));
    expect(config["r"]).toBe(6);
    const name = "adapter_model.safetensors";
    expect(readFileSync(at("further", name)).equals(readFileSync(join(adapter, name)))).toBe(false);
  });

  it("evaluates with and without the adapter; the samples add up to the whole", async () => {
    const plain = await evaluate(base);
    const adapted = await evaluate(base, "--adapter", adapter, "--per_sample", at("samples.jsonl"));
    expect(adapted["loss"]).toBeLessThan(plain["loss"] as number);
    expect(adapted).toMatchObject({ samples: 56, trainable_tokens: plain["trainable_tokens"] });
    expect(adapted["perplexity"]).toBeCloseTo(Math.exp(adapted["loss"] as number), 9);
    const samples = jsonLines(readFileSync(at("samples.jsonl"), "utf8"));
    expect(samples).toHaveLength(56);
    expect(samples[4]).toMatchObject({ row: 4, file: heldOutData, line: 5 });
    const tokens = samples.reduce((sum, sample) => sum + (sample["trainable_tokens"] as number), 0);
    const loss = samples.reduce(
      (sum, sample) => sum + (sample["loss"] as number) * (sample["trainable_tokens"] as number),
      0,
    );
    expect(tokens).toBe(plain["trainable_tokens"]);
    expect(loss / tokens).toBeCloseTo(adapted["loss"] as number, 6);
    // One at a time or in batches: the same mean over tokens.
    const batched = await evaluate(base, "--adapter", adapter);
    expect(batched["loss"]).toBeCloseTo(adapted["loss"] as number, 6);
  });

  it("merges the adapter: the same loss and the same words", async () => {
    await output(["merge", base, "--adapter", adapter, "--output_dir", at("merged")]);
    const { loss } = await evaluate(base, "--adapter", adapter);
    expect((await evaluate(at("merged")))["loss"]).toBeCloseTo(loss as number, 5);
    const merged = await ask(at("merged"));
    expect(merged).toHaveLength(56);
    expect(merged).toEqual(await ask(base, "--adapter", adapter));
    const again = await run(["merge", base, "--adapter", adapter, "--output_dir", at("merged")]);
    expect(again.code).toBe(1);
    expect(again.notes).toContain("is not empty");
  });

  it("converts the data type", async () => {
    await output(["merge", base, "--torch_dtype", "bfloat16", "--output_dir", at("bfloat16")]);
    expect(json(readFileSync(at("bfloat16", "config.json"), "utf8"))["torch_dtype"]).toBe("bfloat16");
    const [before, after] = [base, at("bfloat16")].map((path) => readFileSync(join(path, "model.safetensors")).length);
    expect(after).toBeLessThan(0.6 * (before ?? 0));
  });

  it("generates from flags, standard input and the chat template", async () => {
    const text = await output(["generate", base, "--prompt", "The sky", "--max_new_tokens", "5"]);
    expect(await output(["generate", base, "--max_new_tokens", "5"], { input: "The sky\n" })).toBe(text);
    const [chat] = jsonLines(
      await output(["generate", base, "--chat", "--prompt", "The sky", "--max_new_tokens", "5", "--json"]),
    );
    expect(chat?.["prompt"]).toBe("<s>Question:\nThe sky\nAnswer:\n");
    const sampled = (seed: string): Promise<string> =>
      output(["generate", base, "--prompt", "A", "--max_new_tokens", "12", "--temperature", "3", "--seed", seed]);
    expect(await sampled("1")).toBe(await sampled("1"));
    expect(await sampled("1")).not.toBe(await sampled("2"));
  });

  it("previews tokens, mask and template", async () => {
    const argv = ["preview", base, "--data", trainingData, "--samples", "2"];
    const [first] = jsonLines(await output([...argv, "--json"]));
    expect(first).toMatchObject({ index: 0, origin: `${trainingData}, line 1`, format: "chat" });
    const text = "<s>Question:\nWhich number comes after five?\nAnswer:\nThe number after five is six.</s>\n";
    expect(first?.["text"]).toBe(text);
    expect(first?.["spans"]).toEqual([
      { trained: false, text: text.slice(0, text.indexOf("The number")) },
      { trained: true, text: "The number after five is six.</s>" },
      { trained: false, text: "\n" },
    ]);
    expect(await output(argv)).toContain("«The number after five is six.</s>»");
  });
});
