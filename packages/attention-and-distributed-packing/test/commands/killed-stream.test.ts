/** Padding-free multipack over a stream, from the command line: killed in the middle of an epoch, it goes on to the very same end. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { fixturePath, temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

const repository = fileURLToPath(new URL("../../../../", import.meta.url));
const program = join(repository, "packages", "framework", "bin", "fms-accel.js");
const root = temporaryDirectory();

/** Runs the built command, and kills it when it has printed something, if that is asked for. */
function train(data: string, out: string, killAt?: string): Promise<{ code: number | null; notes: string }> {
  const flags = {
    model_name_or_path: fixturePath("models", "llama"),
    training_data_path: data,
    output_dir: join(root, out),
    torch_dtype: "float32",
    peft_method: "lora",
    target_modules: "all-linear",
    packing_capacity: 24,
    gradient_accumulation_steps: 2,
    streaming_window: 9,
    learning_rate: 0.01,
    max_steps: 12,
    save_steps: 1,
    logging_steps: 1,
  };
  const words = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = spawn(
    process.execPath,
    [
      program,
      "train",
      "--padding_free",
      ...words,
      "--multipack",
      "--streaming",
      ...(killAt === undefined ? ["--resume_from_checkpoint", "true"] : []),
    ],
    { cwd: repository, env: { ...process.env, NO_COLOR: "1" }, stdio: ["ignore", "ignore", "pipe"] },
  );
  let notes = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    notes += text;
    if (killAt !== undefined && notes.includes(killAt)) child.kill("SIGKILL");
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, notes }));
  });
}

describe.each([
  ["jsonl", fixturePath("curves", "full-llama", "train.jsonl")],
  ["parquet", fixturePath("data", "files", "zstd.parquet")],
])("%s", (kind, data) => {
  it("is killed, and goes on", { timeout: 120_000 }, async () => {
    const whole = await train(data, `${kind}-whole`);
    expect(whole).toMatchObject({ code: 0 });
    expect(whole.notes).toContain("which become tokens while training goes on, in windows of 9 samples.");
    // The memory that is announced is that of the fullest batch, which the batch size does not say.
    expect(whole.notes).toContain("; batches of 1 × 24 tokens)");
    expect(whole.notes).toContain("Instantaneous batch size per device = as multipack deals them out\n");
    const killed = await train(data, `${kind}-killed`, "Saved checkpoint-4");
    expect(killed.code).not.toBe(0);
    const resumed = await train(data, `${kind}-killed`);
    expect(resumed).toMatchObject({ code: 0 });
    expect(resumed.notes).toMatch(/Going on from .*checkpoint-\d+, after step \d+ of 12/);
    const weights = (out: string): Buffer => readFileSync(join(root, `${kind}-${out}`, "adapter_model.safetensors"));
    expect(weights("killed").equals(weights("whole"))).toBe(true);
  });
});
