import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryDirectory } from "@fms-accel/test-utilities";
import { beforeAll, describe, expect, it } from "vitest";
import { runCommandLine, type Program } from "../../src/cli/main.ts";
import { shells } from "../../src/commands/completion.ts";
import { createTrainCommand } from "../../src/commands/train.ts";
import { completionModel } from "../../src/completion/completion-model.ts";
import { discoverPlugins } from "../../src/plugins/discover-plugins.ts";
import { findPluginPackages } from "../../src/plugins/find-plugin-packages.ts";
import { pluginCommandEntries } from "../../src/plugins/plugin-commands.ts";
import { program } from "../../src/program.ts";
import { captureTerminal } from "../cli/captured-terminal.ts";
import { installFlat, pluginPackage, projectFolder } from "../plugins/project-folder.ts";

const folder = temporaryDirectory();
const scriptOf = (shell: string): string => join(folder, `completion.${shell}`);
const leftOut: string[] = [];

/** A plugin with two flags, a command and a mode of a command. */
const greeterCode = `
  const anything = { safeParse: (data) => ({ success: true, data }) };
  const row = (name, type, rest) => ({ name, type, default: null, help: "", ...rest });
  const options = [
    { name: "greeting", path: "training.greeting", help: "How to greet.",
      values: [row("word", "string", { choices: ["hello", "salut"] }), row("times", "integer")] },
    { name: "greetings", path: "training.greeting", help: "How often.", values: [row("times", "integer")] },
  ];
  export const plugins = [{
    name: "Greeter", description: "", paths: { allOf: ["training.greeting"] },
    schemas: { "training.greeting": anything }, options, activate: () => ({}),
  }];
  const command = (rows, words) => ({
    positionals: [["[who]", ""]], groups: [{ heading: "Own", rows }], examples: [],
    positionalWords: () => words, run: async () => 0,
  });
  export const commands = [
    { name: "greet", summary: "it's \\"hello\\": [say] it", load: async () => command([row("tone", "string", { choices: ["kind", "cool"] })], ["world"]) },
    { name: "preview --aloud", summary: "", load: async () => command([row("aloud", "boolean"), row("data", "string")], []) },
  ];`;

/** A project that has this plugin, and one that cannot be loaded. */
function projectWithPlugins(): string {
  const project = projectFolder(["greeter", "broken"]);
  const commands = { greet: 'it\'s "hello": [say] it', "preview --aloud": "" };
  const options = ["greeting", "greetings"];
  const manifest = { shortname: "greeter", paths: ["training.greeting"], options, commands };
  const broken = { shortname: "broken", paths: ["training.broken"], commands: { shatter: "" } };
  installFlat(project, {
    greeter: pluginPackage("greeter", "training.greeting", { manifest, code: greeterCode }),
    broken: pluginPackage("broken", "training.broken", { manifest: broken, code: "throw new Error('in pieces');" }),
  });
  return project;
}

beforeAll(async () => {
  const project = projectWithPlugins();
  const train = createTrainCommand(await discoverPlugins(project));
  const inProject: Program = {
    ...program,
    commands: program.commands.map((entry) =>
      entry.name === "train" ? { ...entry, load: () => Promise.resolve(train) } : entry,
    ),
  };
  const added = pluginCommandEntries(findPluginPackages(project).packages);
  const model = await completionModel(inProject, added, (name, reason) => leftOut.push(`${name}: ${reason}`));
  for (const [shell, render] of Object.entries(shells)) writeFileSync(scriptOf(shell), render(model));
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

/**
 * A terminal in which zsh runs with the script: the line is typed there with a tab behind it, and what completion adds is written to a file.
 * Arguments: script, file, line.
 */
const zshTerminal = String.raw`
zmodload zsh/zpty
zpty pty zsh -f -i
zpty -w pty 'autoload -U compinit; compinit -u -D; source '$1'; PS1='
zpty -w pty 'compadd() {
  if [[ " $* " == *" -[OAD] "* ]]; then builtin compadd "$@"; return; fi
  local -a hits; builtin compadd -A hits "$@"; print -rl -- $hits >> '$2'; builtin compadd "$@"
}; comppostfuncs=(exit); bindkey "^I" complete-word'
zpty -w -n pty "$3"$'\t'
while zpty -r pty line; do :; done`;

/** What zsh offers for the last word of a line. */
function completeInZsh(line: string): string[] {
  const offers = join(temporaryDirectory(), "offers");
  const words = ["-f", "-c", zshTerminal, "zsh", scriptOf("zsh"), offers, line];
  const { status, stderr } = spawnSync("zsh", words, { encoding: "utf8", timeout: 60_000 });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return readFileSync(offers, "utf8")
    .split("\n")
    .filter((offer) => offer !== "");
}

describe("bash completion", () => {
  it("offers commands", () => {
    expect(complete("conf")).toEqual(["configs"]);
    expect(complete("")).toEqual([...program.commands.map(({ name }) => name), "greet", "--help", "--version"]);
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

describe("plugins of the project", () => {
  it("add flags to train, with the values of their first word", () => {
    expect(complete("train", "--greet")).toEqual(["--greeting", "--greetings"]);
    expect(complete("train", "--greeting", "")).toEqual(["hello", "salut"]);
    expect(complete("train", "--greetings", "")).toEqual([]);
  });

  it("add commands, and modes of commands", () => {
    expect(complete("gree")).toEqual(["greet"]);
    expect(complete("greet", "--t")).toEqual(["--tone"]);
    expect(complete("greet", "--tone", "k")).toEqual(["kind"]);
    expect(complete("greet", "w")).toEqual(["world"]);
    expect(complete("preview", "--al")).toEqual(["--aloud"]);
    // The mode's flags are offered beside the command's own, each once.
    expect(complete("preview", "--data").filter((flag) => flag === "--data")).toEqual(["--data"]);
    expect(complete("preview", "--sam")).toEqual(["--samples"]);
  });

  it("that cannot be loaded are left out, which is said", () => {
    expect(leftOut).toEqual([expect.stringMatching(/^shatter: broken 1\.2\.3: it cannot be loaded: in pieces/)]);
    expect(complete("shat")).toEqual([]);
  });

  it("are those of the project that the command is called in", async () => {
    const { terminal, output } = captureTerminal();
    expect(await runCommandLine(program, ["completion", "bash"], terminal)).toBe(0);
    // The repository depends on its own plugin.
    expect(output()).toMatch(/--padding_free\) words='huggingface'/);
    expect(output()).toMatch(/^ {4}assert-packing\)$/m);
  });
});

describe("scripts of the other shells", () => {
  const lines: [line: string, offered: string[]][] = [
    ["fms-accel gree", ["greet"]],
    ["fms-accel configs aadp-padding-free-", ["aadp-padding-free-multipack"]],
    ["fms-accel train --greeting ", ["hello", "salut"]],
    ["fms-accel train --peft_method l", ["lora"]],
    ["fms-accel greet --tone c", ["cool"]],
    ["fms-accel greet w", ["world"]],
    ["fms-accel preview --alo", ["--aloud"]],
  ];

  it.each(["zsh", "fish"])("%s names every command and the plugin's flags", (shell) => {
    const script = readFileSync(scriptOf(shell), "utf8");
    for (const { name } of program.commands) expect(script).toMatch(new RegExp(`\\b${name}\\b`));
    for (const text of ["moe-scattermoe-granite-ep8-foak", "greeting", "aloud", "tone"]) expect(script).toContain(text);
  });

  describe.skipIf(!has("zsh"))(`zsh${has("zsh") ? "" : " (skipped: zsh is not installed)"}`, () => {
    it("understands its script", () => {
      expect(spawnSync("zsh", ["-n", scriptOf("zsh")], { encoding: "utf8" })).toMatchObject({ status: 0, stderr: "" });
    });

    it.each(lines)("offers for %j %j", (line, expected) => {
      expect(completeInZsh(line)).toEqual(expected);
    });
  });

  describe.skipIf(!has("fish"))(`fish${has("fish") ? "" : " (skipped: fish is not installed)"}`, () => {
    it.each(lines)("offers for %j %j", (line, expected) => {
      const command = `source ${scriptOf("fish")}; complete -C ${JSON.stringify(line)}`;
      const { stdout, stderr } = spawnSync("fish", ["--no-config", "-c", command], { encoding: "utf8" });
      expect(stderr).toBe("");
      expect(stdout.split("\n").map((offer) => offer.split("\t")[0])).toEqual([...expected, ""]);
    });
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
