/** The package's commands on a fixture, through the command line that its manifest makes. */
import { PassThrough } from "node:stream";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createTerminal, dispatch, program, type CommandEntry } from "@fms-accel/framework";
import { fixturePath, temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import { commands } from "../../src/index.ts";

const model = fixturePath("models", "llama");
const data = fixturePath("curves", "full-llama", "train.jsonl");

async function run(name: string, ...flags: string[]): Promise<{ code: number; output: string; notes: string }> {
  const entry = commands.find((command) => command.name === name) as CommandEntry;
  const [word] = name.split(" ") as [string];
  const printed = { output: "", notes: "" };
  const sink = (key: keyof typeof printed): PassThrough =>
    new PassThrough().on("data", (chunk: Buffer) => (printed[key] += chunk.toString()));
  const terminal = createTerminal(
    { input: new PassThrough(), output: sink("output"), notes: sink("notes") },
    { NO_COLOR: "1" },
  );
  const code = await dispatch({ ...program, commands: [{ ...entry, name: word }] }, [word, ...flags], terminal);
  return { code, ...printed };
}

it("commands are those of the manifest", () => {
  const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
    "fms-accel": { commands: Record<string, string> };
  };
  expect(Object.fromEntries(commands.map(({ name, summary }) => [name, summary]))).toEqual(
    manifest["fms-accel"].commands,
  );
});

describe("assert-packing", () => {
  it("finds the packed losses to be those of the original data set", async () => {
    const { code, output } = await run("assert-packing", model, "--dataset", data, "--pack_length", "64", "--json");
    const result = JSON.parse(output) as {
      samples: number;
      original: { lossTokens: number; rows: number };
      packed: { name: string; lossTokens: number; rows: number; difference: number }[];
    };
    expect(code).toBe(0);
    expect(result).toMatchObject({ passes: true, samples: 40, original: { rows: 40 } });
    expect(result.packed.map(({ name }) => name)).toEqual([
      "packed dataset, original model",
      "packed dataset, padding-free model",
    ]);
    for (const { lossTokens, rows, difference } of result.packed) {
      expect(lossTokens).toBe(result.original.lossTokens);
      expect(rows).toBeLessThan(12);
      expect(difference).toBeLessThan(1e-6);
    }
  });

  it("says so in words, and fails with exit code 1 where they differ by more than is allowed", async () => {
    const passed = await run("assert-packing", model, "--dataset", data, "--samples", "20");
    expect(passed.code).toBe(0);
    expect(passed.output).toMatch(/^average loss over tokens from \(original dataset, original model\): \d\.\d{8}$/m);
    expect(passed.output).toMatch(
      /^number of tokens used for computing loss from \(packed dataset, padding-free model\): \d+$/m,
    );
    expect(passed.output).toMatch(/ and \(packed dataset, padding-free model\): 0\.0000\d\d%$/m);
    // Values rounded to bfloat16 differ where sums have another order, which this does not allow.
    const strict = ["--torch_dtype", "bfloat16", "--tolerance", "1e-300"];
    const failed = await run("assert-packing", model, "--dataset", data, "--samples", "20", ...strict);
    expect(failed.code).toBe(1);
    expect(failed.output).toContain("They differ: the loss by more than 1e-300, or the number of tokens.");
  });

  it("wants a data set", async () => {
    await expect(run("assert-packing", model)).rejects.toThrow("--dataset is missing");
  });
});

describe("preview --packing", () => {
  it("draws batches before and after packing, and writes the picture of their attention", async () => {
    const picture = join(temporaryDirectory(), "attention.svg");
    const flags = ["--data", data, "--packing_capacity", "64", "--per_device_train_batch_size", "4"];
    const { output, notes } = await run("preview --packing", model, "--packing", ...flags, "--picture", picture);
    expect(output).toMatch(/^each character is 1 token; X is padding$/m);
    expect(output).toMatch(/^padded, batches of 4$/m);
    const lines = output.split("\n");
    const packed = lines.findIndex((line) => /^packed, batch 0: \d+ samples, up to 64 tokens$/.test(line));
    expect(lines[packed + 2]).toMatch(/^\[\[( A)+/);
    const cuSeqlens = /^cu_seqlens: (0(?:, \d+)+)$/m.exec(output)?.[1]?.split(", ").map(Number) ?? [];
    // The letters of the drawing are the lengths of cu_seqlens.
    const letters = lines
      .slice(packed + 2, packed + 6)
      .join("")
      .replaceAll(/[^A-WYZ]/g, "");
    const lengths = cuSeqlens.slice(1).map((end, index) => end - cuSeqlens[index]!);
    expect(letters).toBe(lengths.map((length, index) => String.fromCharCode(65 + index).repeat(length)).join(""));
    expect(output).toMatch(/^before: batches of 4, \d+\.\d\d % of \d+ positions are padding/m);
    expect(output).toMatch(
      /^after: {2}0\.00 % of 500 positions are padding; 40 samples in 8 batches on 1 rank, 97\.65 % full\.$/m,
    );
    expect(notes).toContain(`Wrote ${picture}.`);
    const inRows = ["--data", data, "--packing_capacity", "256", "--packing_rows", "4"];
    const rows = await run("preview --packing", model, "--packing", ...inRows);
    const drawing = /^packed, batch 0: \d+ samples in 4 rows, up to 256 tokens\n(?:.*\n){6}/m.exec(rows.output)?.[0];
    const [, scale, first, second, third, fourth] = drawing?.split("\n") ?? [];
    expect(scale).toBe("   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5");
    expect(first).toMatch(/^\[\[( A)+( [B-Z]){8,} \]$/);
    for (const row of [second, third]) expect(row).toMatch(/^ {2}( [A-Z]){16} \]$/);
    expect(fourth).toMatch(/^ {2}( [A-Z]){16} \]\]$/);
    expect(readFileSync(picture, "utf8")).toContain("packed: each sample sees itself");
  });
});
