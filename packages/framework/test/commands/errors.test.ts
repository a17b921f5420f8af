import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { runCommandLine } from "../../src/cli/main.ts";
import { program } from "../../src/program.ts";
import { captureTerminal } from "../cli/captured-terminal.ts";
import { example } from "../end-to-end/command.ts";

const folder = mkdtempSync(join(tmpdir(), "fms-accel-errors-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function fileWith(name: string, text: string): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}

const model = example("model");
const data = example("train.jsonl");
const out = join(folder, "out");
const complete = ["train", "--model_name_or_path", model, "--training_data_path", data, "--output_dir", out];
const bad = fileWith(
  "bad.jsonl",
  '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n{"messages": 3}\n',
);
const yaml = fileWith("run.yaml", "output_dir: out\nlearning_rat: 1\n");
const range = fileWith("range.yaml", "learning_rate: -1\n");

describe("one clear error, without a stack, and a non-zero exit code", () => {
  it.each([
    ["no model", ["train", "--output_dir", out], "no model is given"],
    ["no data", ["train", "--model_name_or_path", model, "--output_dir", out], "--training_data_path is missing"],
    ["no output", ["train", "--model_name_or_path", model, "--training_data_path", data], "output_dir"],
    ["two models", [...complete, "--model_config", "config.json"], "exclude each other"],
    ["a hub name", ["generate", "HuggingFaceTB/SmolLM-135M", "--prompt", "a"], "Nothing is downloaded"],
    ["a missing folder", ["evaluate", join(folder, "none"), "--data", data], "there is no such folder"],
    ["a missing data file", ["evaluate", model, "--data", join(folder, "none.jsonl")], "none.jsonl"],
    ["a bad row", ["preview", model, "--data", bad], "bad.jsonl, line 2"],
    ["a bad value", [...complete, "--learning_rate", "fast"], "--learning_rate: expected a number"],
    ["a bad choice", [...complete, "--lr_scheduler_type", "cosin"], "--lr_scheduler_type: expected one of"],
    ["a bad key", ["train", "--config", yaml], 'run.yaml:2:1: unknown key "learning_rat". Did you mean learning_rate?'],
    ["a bad value in a file", [...complete, "--config", range], "range.yaml:1:16 learning_rate: expected at least 0"],
    ["LoRA flags without LoRA", [...complete, "--r", "16"], "--r: no effect without --peft_method lora"],
    ["LoRA flags with an adapter", [...complete, "--adapter", "a", "--r", "16"], "--r: no effect with --adapter"],
    ["no adapter there", ["generate", model, "--adapter", folder, "--prompt", "a"], "adapter_config.json"],
    ["unknown modules", [...complete, "--peft_method", "lora", "--target_modules", "q_prj"], 'Did you mean "q_proj"?'],
    ["nothing to merge", ["merge", model, "--output_dir", out], "there is nothing to do"],
    ["merging in place", ["merge", model, "--torch_dtype", "float32", "--output_dir", model], "is read from"],
    [
      "sampling switched off",
      ["generate", model, "--prompt", "a", "--do_sample", "false", "--top_k", "3"],
      "no effect",
    ],
    ["an empty prompt", ["generate", model], "standard input is empty"],
    [
      "two models for generate",
      ["generate", model, "--model_name_or_path", folder, "--prompt", "a"],
      "two models are given",
    ],
    [
      "a model behind a flag that takes several words",
      ["generate", "--adapter", "out", model],
      `--adapter takes every word up to the next flag: out and ${model}. Put the model first: generate MODEL --adapter …`,
    ],
    ["no model for generate", ["generate", "--adapter", "out"], "Put its folder after the command"],
    ["the newest of none", [...complete, "--resume_from_checkpoint", join(folder, "none")], "none"],
  ])("%s", async (_, argv, expected) => {
    const { terminal, notes } = captureTerminal();
    expect(await runCommandLine(program, argv, terminal)).toBe(1);
    expect(notes()).toContain(expected);
    expect(notes().match(/error:/g)).toHaveLength(1);
    expect(notes()).not.toMatch(/\n\s+at /);
  });
});
