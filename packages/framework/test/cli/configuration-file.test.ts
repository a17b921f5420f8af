import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readConfigurationFile } from "../../src/cli/configuration-file.ts";
import { ConfigurationError } from "../../src/errors.ts";

const folder = mkdtempSync(join(tmpdir(), "fms-accel-yaml-"));
afterAll(() => rmSync(folder, { recursive: true }));

const file = join(folder, "run.yaml");
const known = new Set(["learning_rate", "target_modules", "rank_pattern", "bf16", "output_dir"]);

function read(text: string | Uint8Array): ReturnType<typeof readConfigurationFile> {
  writeFileSync(file, text);
  return readConfigurationFile(file, known);
}

function errorOf(text: string | Uint8Array): string {
  try {
    read(text);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigurationError);
    return (error as Error).message.replaceAll(file, "run.yaml");
  }
  throw new Error("no error");
}

describe("a configuration file", () => {
  it("gives typed values with their places", () => {
    const text =
      "# run\nlearning_rate: 2e-4\ntarget_modules: [q_proj, v_proj]\nrank_pattern:\n  q_proj: 4\nbf16: true\noutput_dir:\n";
    expect(read(text)).toEqual([
      { name: "learning_rate", value: 2e-4, where: `${file}:2:16 learning_rate` },
      { name: "target_modules", value: ["q_proj", "v_proj"], where: `${file}:3:17 target_modules` },
      { name: "rank_pattern", value: { q_proj: 4 }, where: `${file}:5:3 rank_pattern` },
      { name: "bf16", value: true, where: `${file}:6:7 bf16` },
      { name: "output_dir", value: null, where: `${file}:7:12 output_dir` },
    ]);
  });

  it.each([
    [
      "learning_rat: 1\nbf16: true\n\nbf_16: 1\n",
      'run.yaml:1:1: unknown key "learning_rat". Did you mean learning_rate?\nrun.yaml:4:1: unknown key "bf_16". Did you mean bf16?',
    ],
    ["bf16: true\nbf16: false\n", "run.yaml:2:1: Map keys must be unique"],
    ["bf16: [1, 2\n", "run.yaml:2:1: "],
    ["- bf16\n", "run.yaml:1:1: expected a mapping of arguments"],
    ["", 'run.yaml:1:1: expected a mapping of arguments, such as "learning_rate: 2e-4"; found an empty file.'],
    ["just text\n", "found a single value"],
    ["[a]: 1\n", "run.yaml:1:1: expected the name of a key, found a collection."],
    ["bf16: *nowhere\n", "run.yaml:1:7"],
    ["output_dir: !!weird x\n", "run.yaml:1:13"],
    ["__proto__: 1\n", 'run.yaml:1:1: unknown key "__proto__".'],
  ])("refuses %j with line and column", (text, expected) => {
    expect(errorOf(text)).toContain(expected);
  });

  it("refuses what is not UTF-8, a folder and a missing file by name", () => {
    expect(errorOf(Uint8Array.of(0xff, 0xfe, 0x00))).toContain("run.yaml:1:1: this is not UTF-8 text.");
    expect(() => readConfigurationFile(folder, known)).toThrow(/cannot be read/);
    expect(() => readConfigurationFile(join(folder, "none.yaml"), known)).toThrow(/none\.yaml.*no such file/);
  });

  it("refuses aliases that multiply", () => {
    const levels = Array.from(
      { length: 12 },
      (_, level) =>
        `  - &a${level} [${Array(9)
          .fill(level === 0 ? "x" : `*a${level - 1}`)
          .join(", ")}]`,
    );
    expect(errorOf(`rank_pattern:\n${levels.join("\n")}\n`)).toMatch(/alias/i);
  });
});
