import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryDirectory } from "@fms-accel/test-utilities";
import { beforeAll, describe, expect, it } from "vitest";
import { runCommandLine } from "../../src/cli/main.ts";
import { program } from "../../src/program.ts";
import { captureTerminal } from "../cli/captured-terminal.ts";

const folder = temporaryDirectory();
const scriptOf = (shell: string): string => join(folder, `completion.${shell}`);

beforeAll(async () => {
  for (const shell of ["bash", "zsh", "fish"]) {
    const { terminal, output } = captureTerminal();
    expect(await runCommandLine(program, ["completion", shell], terminal)).toBe(0);
    writeFileSync(scriptOf(shell), output());
  }
  mkdirSync(join(folder, "files"));
  writeFileSync(join(folder, "files", "data.jsonl"), "");
});

function has(shell: string): boolean {
  return spawnSync(shell, ["-c", "true"]).status === 0;
}

/** What bash offers for the last word. */
function complete(...words: string[]): string[] {
  const program = `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _fms_accel; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = spawnSync("bash", ["-c", program, "bash", scriptOf("bash"), "fms-accel", ...words], {
    encoding: "utf8",
    cwd: join(folder, "files"),
  });
  expect(stderr).toBe("");
  return stdout.split("\n").filter((line) => line !== "");
}

describe("bash completion", () => {
  it("offers commands", () => {
    expect(complete("conf")).toEqual(["configs"]);
    expect(complete("")).toEqual([...program.commands.map(({ name }) => name), "--help", "--version"]);
  });

  it("offers a command's flags, but none that have no effect", () => {
    expect(complete("train", "--learning_r")).toEqual(["--learning_rate"]);
    expect(complete("train", "--deeps")).toEqual([]);
    expect(complete("configs", "--")).toEqual(["--help"]);
  });

  it("offers the values of a flag, files where they are open, and nothing for numbers", () => {
    expect(complete("train", "--peft_method", "")).toEqual(["none", "lora", "pt"]);
    expect(complete("train", "--bf16", "T")).toEqual(["True"]);
    expect(complete("train", "--training_data_path", "da")).toEqual(["data.jsonl"]);
    expect(complete("train", "--r", "")).toEqual([]);
    expect(complete("train", "--peft_method", "=", "l")).toEqual(["lora"]);
  });

  it("offers short names", () => {
    expect(complete("install", "a")).toEqual(["aadp"]);
    expect(complete("arguments", "foak-fast-kernels-")).toEqual(["foak-fast-kernels-liger"]);
    expect(complete("configs", "aadp-padding-free-")).toEqual(["aadp-padding-free-multipack"]);
    expect(complete("completion", "f")).toEqual(["fish"]);
  });

  it("offers files where a model is asked for", () => {
    expect(complete("generate", "")).toEqual(["data.jsonl"]);
  });
});

describe("scripts of the other shells", () => {
  it.each(["zsh", "fish"])("%s names every command", (shell) => {
    const { terminal, output } = captureTerminal();
    return runCommandLine(program, ["completion", shell], terminal).then(() => {
      for (const { name } of program.commands) expect(output()).toMatch(new RegExp(`\\b${name}\\b`));
      expect(output()).toContain("moe-scattermoe-granite-ep8-foak");
    });
  });

  it.skipIf(!has("zsh"))("zsh understands its script (where zsh is installed)", () => {
    expect(spawnSync("zsh", ["-n", scriptOf("zsh")], { encoding: "utf8" })).toMatchObject({ status: 0, stderr: "" });
  });

  it.skipIf(!has("fish"))("fish offers short names (where fish is installed)", () => {
    const command = `source ${scriptOf("fish")}; complete -C "fms-accel configs aadp-padding-free-"`;
    const { stdout } = spawnSync("fish", ["--no-config", "-c", command], { encoding: "utf8" });
    expect(stdout.trim()).toBe("aadp-padding-free-multipack");
  });
});

describe("completion", () => {
  it.each([
    [[], "no shell is given: bash, zsh, fish."],
    [["tcsh"], 'unknown shell "tcsh": bash, zsh, fish are known.'],
    [["bahs"], "Did you mean bash?"],
    [["constructor"], 'unknown shell "constructor"'],
  ])("%j is refused", async (words, message) => {
    const { terminal, notes } = captureTerminal();
    expect(await runCommandLine(program, ["completion", ...words], terminal)).toBe(1);
    expect(notes()).toContain(message);
  });
});
