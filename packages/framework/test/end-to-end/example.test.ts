import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { example, flags, output } from "./command.ts";

const folder = mkdtempSync(join(tmpdir(), "fms-accel-example-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const generator = (name: string): string => fileURLToPath(new URL(`../../../../scripts/demo/${name}`, import.meta.url));

/** Loss on the held-out questions. */
async function heldOut(...argv: string[]): Promise<number> {
  const printed = await output(["evaluate", example("model"), "--data", example("held-out.jsonl"), "--json", ...argv]);
  return (JSON.parse(printed) as { loss: number }).loss;
}

describe("the bundled example", () => {
  it.each([
    ["make-instructions.mjs", ["train.jsonl", "held-out.jsonl"], ""],
    ["make-tokenizer.mjs", ["tokenizer.json", "tokenizer_config.json"], "model/"],
  ])("is what %s writes", (script, files, place) => {
    execFileSync(process.execPath, [generator(script), "--out", folder]);
    for (const file of files) {
      expect(readFileSync(join(folder, file), "utf8") === readFileSync(example(place + file), "utf8"), file).toBe(true);
    }
  });

  it("is small", () => {
    expect(statSync(example("model/model.safetensors")).size).toBeLessThan(2_000_000);
  });

  it("has a base model that knows its world", async () => {
    const answer = await output([
      "generate",
      example("model"),
      "--prompt",
      "The opposite of hot is",
      "--max_new_tokens",
      "2",
    ]);
    expect(answer).toBe(" cold.\n");
  });

  it("learns to answer", async () => {
    const settings = {
      model_name_or_path: example("model"),
      training_data_path: example("train.jsonl"),
      output_dir: join(folder, "adapter"),
      peft_method: "lora",
      target_modules: "all-linear",
      learning_rate: 2e-3,
      max_steps: 60,
      save_strategy: "no",
    };
    await output(["train", ...flags(settings)]);
    expect(await heldOut("--adapter", join(folder, "adapter"))).toBeLessThan(0.3 * (await heldOut()));
  });
});
