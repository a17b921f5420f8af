import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryDirectory } from "@fms-accel/test-utilities";
import { beforeAll, describe, expect, it } from "vitest";
import { dispatch, type Program } from "../../src/cli/main.ts";
import { installCommand, installPlugins } from "../../src/commands/install.ts";
import { program as realProgram } from "../../src/program.ts";
import { captureTerminal } from "../cli/captured-terminal.ts";

const project = temporaryDirectory();

beforeAll(() => {
  writeFileSync(join(project, "package.json"), "{}");
  writeFileSync(join(project, "pnpm-lock.yaml"), "");
  writeFileSync(join(project, "mine-1.0.0.tgz"), "");
  for (const name of ["local-plugin", "peft"]) {
    mkdirSync(join(project, name));
    writeFileSync(join(project, name, "package.json"), "{}");
  }
});

interface Outcome {
  readonly code: number;
  readonly commands: readonly (readonly string[])[];
  readonly notes: string;
}

/** Installs without running anything; `status` is what the package manager ends with. */
async function install(words: readonly string[], status: number | undefined = 0, manager?: string): Promise<Outcome> {
  const { terminal, notes } = captureTerminal();
  const commands: (readonly string[])[] = [];
  const run = async (command: readonly string[]): Promise<number | undefined> => {
    commands.push(command);
    return status;
  };
  const code = await installPlugins(words, manager, { folder: project, environment: {}, run }, terminal);
  return { code, commands, notes: notes() };
}

describe("install", () => {
  it.each([
    [["aadp"], ["@fms-accel/attention-and-distributed-packing"]],
    [["peft@0.2.0"], ["@fms-accel/accelerated-peft@0.2.0"]],
    [["fused-ops-and-kernels"], ["@fms-accel/fused-ops-and-kernels"]],
    // The names of the Python packages, which the original takes.
    [["fms_acceleration_moe"], ["@fms-accel/accelerated-moe"]],
    [["fms-acceleration-foak"], ["@fms-accel/fused-ops-and-kernels"]],
    [
      ["-D", "foak", "--save-exact"],
      ["-D", "@fms-accel/fused-ops-and-kernels", "--save-exact"],
    ],
    [
      ["peft", "aadp"],
      ["@fms-accel/accelerated-peft", "@fms-accel/attention-and-distributed-packing"],
    ],
    [["@someone/their-plugin@^2"], ["@someone/their-plugin@^2"]],
    [["their-plugin"], ["their-plugin"]],
    [["git+https://example.org/plugin.git"], ["git+https://example.org/plugin.git"]],
    [["./local-plugin"], ["./local-plugin"]],
    [["local-plugin"], ["./local-plugin"]],
    [["mine-1.0.0.tgz"], ["./mine-1.0.0.tgz"]],
    [["./mine-1.0.0.tgz"], ["./mine-1.0.0.tgz"]],
  ])("%j hands the package manager %j", async (words, expected) => {
    const { code, commands } = await install(words);
    expect(code).toBe(0);
    expect(commands).toEqual([["pnpm", "add", ...expected]]);
  });

  it("says what it runs and why", async () => {
    const { notes } = await install(["aadp"]);
    expect(notes).toBe("pnpm add @fms-accel/attention-and-distributed-packing (the project has a pnpm-lock.yaml)\n");
    expect((await install(["aadp"], 0, "bun")).commands[0]?.[0]).toBe("bun");
  });

  it("ends as the package manager ends, and falls back to nothing", async () => {
    const { code, commands, notes } = await install(["aadp"], 7);
    expect(code).toBe(7);
    expect(commands).toHaveLength(1);
    expect(notes).toContain("pnpm ended with exit code 7");
    expect(notes).not.toContain("not available yet");
    expect((await install(["peft@0.2.0"], 1)).notes).toContain("@fms-accel/accelerated-peft was not available yet");
  });

  it.each([
    [[], "no plugin is given. `fms-accel plugins` lists them."],
    [["-D"], "no plugin is given"],
    // A stranger could own the mistyped name.
    [
      ["pfet"],
      'unknown plugin "pfet". Did you mean peft? A package of exactly this name is added with the package manager itself.',
    ],
    [["acelerated-peft"], "Did you mean accelerated-peft or accelerated-moe?"],
    [["odm"], "there is no plugin for online data mixing yet"],
    [["fms_acceleration_mcp"], "there is no plugin for context parallelism for Mamba layers yet"],
    [["./no/such/folder"], "no/such/folder does not exist."],
    [["gone.tgz"], "gone.tgz does not exist."],
  ])("%j is refused before anything runs", async (words, message) => {
    await expect(install(words)).rejects.toThrow(message);
  });

  it("says what to do when the package manager is not there", async () => {
    const message = "yarn cannot be found. Install it (npm install --global yarn)";
    await expect(
      installPlugins(
        ["aadp"],
        "yarn",
        { folder: project, environment: {}, run: async () => undefined },
        captureTerminal().terminal,
      ),
    ).rejects.toThrow(message);
    await expect(install(["aadp"], 0, "apt")).rejects.toThrow("--package_manager apt: expected pnpm, npm, yarn, bun.");
  });

  it("gets unknown flags from the command line in their order, and keeps its own", async () => {
    const calls: unknown[] = [];
    const recorded = {
      ...installCommand,
      run: async ({ positionals, flags }: { positionals: readonly string[]; flags: unknown }) => {
        calls.push({ positionals, flags });
        return 0;
      },
    };
    const program: Program = {
      ...realProgram,
      commands: [{ name: "install", summary: "", load: async () => recorded }],
    };
    const words = ["--package_manager", "npm", "--save-dev", "peft", "--registry", "https://r.example", "-E"];
    await dispatch(program, ["install", ...words], captureTerminal().terminal);
    expect(calls).toEqual([
      {
        positionals: ["--save-dev", "peft", "--registry", "https://r.example", "-E"],
        flags: [{ name: "package_manager", value: "npm", where: "--package_manager" }],
      },
    ]);
  });
});
