import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { runCommandLine } from "../../src/cli/main.ts";
import { machineMemory } from "../../src/commands/machine-memory.ts";
import { estimateMemory } from "../../src/commands/memory-estimate.ts";
import { memoryLines, memoryTable } from "../../src/commands/memory-report.ts";
import { program } from "../../src/program.ts";
import { parseArguments } from "@fms-accel/trainer";
import { example } from "../end-to-end/command.ts";
import { captureTerminal } from "../cli/captured-terminal.ts";

const folder = mkdtempSync(join(tmpdir(), "fms-accel-estimate-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Llama 3 8B. */
const llama8b = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 4096,
  intermediate_size: 14336,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  vocab_size: 128256,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-5,
  hidden_act: "silu",
  rope_theta: 500000,
  tie_word_embeddings: false,
};
const config = join(folder, "config.json");
writeFileSync(config, JSON.stringify(llama8b));

const PARAMETERS = 8_030_261_248;

async function estimate(...argv: string[]): Promise<{ code: number; output: string; notes: string }> {
  const captured = captureTerminal();
  const code = await runCommandLine(program, ["estimate", ...argv], captured.terminal);
  return { code, output: captured.output(), notes: captured.notes() };
}

describe("estimate", () => {
  it("counts parameters, gradients and optimiser of a model of which there is only a config.json", async () => {
    const { code, output } = await estimate(
      config,
      "--per_device_train_batch_size",
      "1",
      "--max_seq_length",
      "512",
      "--json",
    );
    expect(code).toBe(0);
    const { chosen, other, mappedWeights, logits, architecture } = JSON.parse(output);
    expect(architecture).toBe("LlamaForCausalLM");
    expect(chosen).toMatchObject({
      parameters: { total: PARAMETERS, trainable: PARAMETERS },
      weights: 2 * PARAMETERS,
      gradients: 2 * PARAMETERS,
      optimizer: 8 * PARAMETERS,
      gradientCheckpointing: false,
    });
    expect(other.activations).toBeLessThan(chosen.activations / 2);
    expect(mappedWeights).toBe(0);
    expect(logits.full).toBe(512 * 128_256 * 2);
  });

  it("prints a table, and takes train's flags", async () => {
    const { output } = await estimate(
      config,
      "--peft_method",
      "lora",
      "--r",
      "16",
      "--target_modules",
      "all-linear",
      "--bf16",
      "--max_seq_length",
      "256",
    );
    expect(output).toMatch(
      /8,072,204,288 parameters in bfloat16, products in bfloat16; 41,943,040 trained \(0\.520 %, lora\)/,
    );
    expect(output).toMatch(/^weights +16 GB +16 GB$/m);
    expect(output).toMatch(/^optimiser +336 MB +336 MB$/m);
    expect(output).toMatch(/gradient checkpointing/);
    expect(output).toMatch(/ of it are free\.$/m);
  });

  it("knows which frozen weights stay in the file", async () => {
    const model = example("model");
    const of = async (...argv: string[]): Promise<number> =>
      JSON.parse((await estimate(model, "--json", "--max_seq_length", "64", ...argv)).output).mappedWeights;
    const lora = ["--peft_method", "lora", "--target_modules", "q_proj"];
    expect(await of(...lora)).toBe(2 * 910_464);
    expect(await of(...lora, "--torch_dtype", "float32")).toBe(0);
    expect(await of()).toBe(0);
  });

  it("knows the memory of a GPU, given or the driver's, and that every weight lies there", async () => {
    const { output } = await estimate(config, "--bf16", "--max_seq_length", "256", "--device_memory", "80GiB");
    expect(output).toMatch(/^The GPU has 86 GB, 86 GB of it are free\.$/m);
    const lora = ["--peft_method", "lora", "--target_modules", "q_proj", "--max_seq_length", "64", "--json"];
    const of = async (...argv: string[]): Promise<{ mappedWeights: number; chosen: { fits: boolean } }> =>
      JSON.parse((await estimate(example("model"), ...lora, ...argv)).output);
    expect(await of("--device_memory", "24GB")).toMatchObject({ mappedWeights: 0, chosen: { fits: true } });
    expect(await of("--device_memory", "500 MB")).toMatchObject({ chosen: { fits: false } });
    const { code, notes } = await estimate(config, "--device_memory", "much");
    expect([code, notes]).toEqual([expect.any(Number), expect.stringMatching(/--device_memory is "much": expected/)]);
    const missing = await estimate(config, "--device", "cuda:77");
    expect(missing.notes).toMatch(/cuda:77.*(--device_memory 80GiB|does not exist)/);
  });

  it.each([
    [["nowhere"], /nowhere: no such file or folder/],
    [[], /no model is given/],
    [[config, "--peft_methods", "lora"], /peft_method/],
  ])("refuses %j", async (argv, message) => {
    const { code, notes } = await estimate(...argv);
    expect(code).not.toBe(0);
    expect(notes).toMatch(message);
  });

  it("says when a run does not fit, and what takes less", async () => {
    const args = parseArguments([
      { name: "model_config", value: config, where: "" },
      { name: "save_strategy", value: "no", where: "" },
    ]);
    const machine = { totalBytes: 64e9, availableBytes: 60e9, limitedByGroup: true };
    const found = await estimateMemory(args, { rows: args.training.perDeviceTrainBatchSize, width: 2048 }, { machine });
    expect(found.chosen.fits).toBe(false);
    expect(memoryLines(found).join("\n")).toMatch(
      /60 GB are free\.\nThat may be more than there is.*--gradient_checkpointing would take/,
    );
    expect(memoryTable(found).join("\n")).toMatch(/The control group allows 64 GB, 60 GB of it are free/);
  });
});

describe("the machine's memory", () => {
  const machine = { machineBytes: 64e9, machineAvailable: 50e9 };

  it.each([
    [
      { ...machine, groupLimit: 0, groupAvailable: 50e9 },
      { totalBytes: 64e9, availableBytes: 50e9, limitedByGroup: false },
    ],
    // What a kernel without a limit says.
    [
      { ...machine, groupLimit: 2 ** 64, groupAvailable: 2 ** 64 },
      { totalBytes: 64e9, availableBytes: 50e9, limitedByGroup: false },
    ],
    [
      { ...machine, groupLimit: 8e9, groupAvailable: 3e9 },
      { totalBytes: 8e9, availableBytes: 3e9, limitedByGroup: true },
    ],
    [
      { ...machine, machineAvailable: 1e9, groupLimit: 8e9, groupAvailable: 3e9 },
      { totalBytes: 8e9, availableBytes: 1e9, limitedByGroup: true },
    ],
  ])("of %j is %j", (source, expected) => {
    expect(machineMemory(source)).toEqual(expected);
  });
});
