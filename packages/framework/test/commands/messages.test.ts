import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { readJsonFixture, temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import { runCommandLine } from "../../src/cli/main.ts";
import { program } from "../../src/program.ts";
import { captureTerminal } from "../cli/captured-terminal.ts";

interface Message {
  readonly argv: readonly string[];
  readonly stdout: string;
}

/** What the original's command line prints. */
const { command_line: reference } = readJsonFixture<{ command_line: Message[] }>("framework", "messages.json");

async function run(...argv: string[]): Promise<{ code: number; output: string; notes: string }> {
  const { terminal, output, notes } = captureTerminal();
  const code = await runCommandLine(program, argv, terminal);
  return { code, output: output(), notes: notes() };
}

function referenceOutput(...argv: string[]): string {
  const found = reference.find((message) => JSON.stringify(message.argv) === JSON.stringify(argv));
  if (found === undefined) throw new Error(`no reference for ${argv.join(" ")}`);
  return found.stdout;
}

/** The original prints lists as Python writes them, which no shell takes: `--target_modules ['q_proj', 'k_proj']`. */
function withShellLists(text: string): string {
  return text.replaceAll(/^(\s+--\w+) \[(.*)\]/gm, (_, flag: string, list: string) => {
    return `${flag} ${list.replaceAll(/'|,/g, "")}`;
  });
}

describe("configs", () => {
  it("lists what the original lists, and marks what cannot be used yet", async () => {
    const { code, output } = await run("configs");
    expect(code).toBe(0);
    expect(output.replaceAll(/ \(not available yet: [^)]*\)$/gm, "")).toBe(referenceOutput("configs"));
    expect(output).not.toMatch(/aadp-padding-free .*not available yet/);
  });

  it("prints a configuration", async () => {
    const { code, output } = await run("configs", "aadp-padding-free");
    expect(code).toBe(0);
    expect(output).toContain("      padding_free:\n");
  });

  it("names the nearest configuration", async () => {
    const { code, notes } = await run("configs", "aadp-padding-fre");
    expect(code).toBe(1);
    expect(notes).toContain('unknown configuration "aadp-padding-fre". Did you mean aadp-padding-free?');
  });
});

describe("arguments", () => {
  it.each(["accelerated-peft-bnb", "accelerated-peft-autogptq-foak", "foak-fast-kernels"])(
    "%s prints what the original prints, with lists that a shell takes",
    async (shortname) => {
      const { code, output } = await run("arguments", shortname);
      expect(code).toBe(0);
      expect(output).toBe(withShellLists(referenceOutput("arguments", shortname)));
      expect(output).not.toBe(referenceOutput("arguments", shortname));
    },
  );

  it("takes several names; the original reads the second as a scenario file", async () => {
    const { code, output } = await run(
      "arguments",
      "accelerated-peft-bnb",
      "accelerated-peft-bnb-foak",
      "foak-fast-kernels",
    );
    expect(code).toBe(0);
    expect(output).toContain("['accelerated-peft-bnb', 'accelerated-peft-bnb-foak', 'foak-fast-kernels']\n");
    expect(output.match(/scenario: .*\n {3}configs: .*/g)).toEqual([
      "scenario: full-finetuning\n   configs: foak-fast-kernels",
      "scenario: standard-peft\n   configs: foak-fast-kernels",
      "scenario: accelerated-peft-bnb\n   configs: accelerated-peft-bnb, accelerated-peft-bnb-foak",
    ]);
  });

  it("knows every configuration, those that only other scenario files use too", async () => {
    const { output } = await run("configs");
    const shortnames = [...output.matchAll(/^\d+\. (\S+)/gm)].map(([, name]) => name ?? "");
    expect(shortnames).toHaveLength(26);
    const unused: string[] = [];
    for (const shortname of shortnames) {
      const { code, notes } = await run("arguments", shortname);
      if (code !== 0) unused.push(`${shortname}: ${notes}`);
    }
    expect(unused).toEqual([]);
  });

  it("quotes what a shell would take apart", async () => {
    const { output } = await run("arguments", "aadp-padding-free");
    expect(output).toContain(String.raw`      --response_template $'\n\nASSISTANT:'`);
    expect(output).toContain("      --packing False \\\n");
    expect(output).not.toContain("max_steps");
  });

  it("reads a scenario file of one's own", async () => {
    const file = join(temporaryDirectory(), "own.yaml");
    const scenario = { name: "mine", framework_config: ["own-config"], arguments: { r: 4, run_name: "it's mine" } };
    writeFileSync(file, JSON.stringify({ scenarios: [scenario] }));
    const { code, output } = await run("arguments", "own-config", "--scenarios_config_path", file);
    expect(code).toBe(0);
    expect(output).toContain(String.raw`--run_name 'it'\''s mine'`);
    const other = await run("arguments", "foak-fast-kernels", "--scenarios_config_path", file);
    expect(other.notes).toContain(`no scenario uses foak-fast-kernels in ${file}`);
    writeFileSync(file, JSON.stringify({ scenarios: [{ name: 3 }] }));
    const broken = await run("arguments", "own-config", "--scenarios_config_path", file);
    expect(broken).toMatchObject({ code: 1, output: "" });
    expect(broken.notes).toContain(`${file}: scenarios.0.name: `);
  });
});

it("takes every other recorded line", () => {
  const installs = [
    ["install", "a", "b"], // several at once: install.test.ts
    ["install", "fms_acceleration_peft"], // the same name, by the project's package manager: install.test.ts
    ["install", "-e", "fms_acceleration_foak"], // flags are handed on: install.test.ts
    ["install", "{toxinidir}/no/such/folder"], // no such folder: install.test.ts
  ];
  const tested = [
    ...installs,
    [],
    ["unknown"],
    ["plugins"],
    ["plugins", "extra"],
    ["configs"],
    ["configs", "extra"],
    ["install"],
    ["arguments"],
    ["arguments", "no-such-configuration"],
    ...["accelerated-peft-bnb", "accelerated-peft-autogptq-foak", "foak-fast-kernels"].map((name) => [
      "arguments",
      name,
    ]),
  ].map((argv) => argv.join(" "));
  expect([...new Set(reference.map(({ argv }) => argv.join(" ")))].toSorted()).toEqual(tested.toSorted());
});

/** Where the original raises an assertion, there is one error that says what to do. */
describe("errors", () => {
  it.each([
    [["unknown"], 'unknown command "unknown"'],
    [["plugins", "extra"], "plugins got 1 word that belongs to no flag, and takes 0."],
    [["configs", "extra"], 'unknown configuration "extra"'],
    [["arguments"], "no configuration is given. `fms-accel configs` lists their shortnames."],
    [["arguments", "no-such-configuration"], 'unknown configuration "no-such-configuration"'],
    [["install"], "no plugin is given. `fms-accel plugins` lists them."],
  ])("%j", async (argv, message) => {
    expect(reference.some((known) => JSON.stringify(known.argv) === JSON.stringify(argv))).toBe(true);
    const { code, output, notes } = await run(...argv);
    expect({ code, output }).toEqual({ code: 1, output: "" });
    expect(notes).toContain(message);
    expect(notes.trimEnd().split("\n")).toHaveLength(1);
  });

  it("without words the commands are listed, as in the original", async () => {
    expect(referenceOutput()).toContain("Command Line Tool");
    expect((await run()).output).toContain("Commands:\n");
  });
});
