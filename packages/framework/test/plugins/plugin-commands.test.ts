/** Commands that packages of the project add to the command line. */
import { describe, expect, it } from "vitest";
import { dispatch } from "../../src/cli/main.ts";
import { findPluginPackages } from "../../src/plugins/find-plugin-packages.ts";
import { withPluginCommands } from "../../src/plugins/plugin-commands.ts";
import { program } from "../../src/program.ts";
import { captureTerminal } from "../cli/captured-terminal.ts";
import { installFlat, pluginCode, pluginPackage, projectFolder } from "./project-folder.ts";

const PATH = "training.greeting";

/** A package with a command of its own, and one that stands in for `doctor --loudly`. */
function project(commands: object = { greet: "say hello", "doctor --loudly": "shout" }, code = commandCode()): string {
  const folder = projectFolder(["greeter"]);
  installFlat(folder, {
    greeter: pluginPackage("greeter", PATH, { manifest: { shortname: "greeter", paths: [PATH], commands }, code }),
  });
  return folder;
}

function commandCode(): string {
  return `${pluginCode(PATH)}
    const flag = (name) => ({ name, type: "boolean", default: false, help: "" });
    const command = (word, rows) => ({
      positionals: [], groups: [{ heading: "Own", rows }], examples: [],
      run: async ({ flags }, { output }) => { output.write(word + " " + flags.map(({ name }) => name).join()); return 3; },
    });
    export const commands = [
      { name: "greet", summary: "say hello", load: async () => command("hello", [flag("kindly")]) },
      { name: "doctor --loudly", summary: "shout", load: async () => command("HELLO", [flag("loudly")]) },
    ];`;
}

async function run(folder: string, argv: readonly string[]): Promise<{ code: number; output: string }> {
  const { terminal, output } = captureTerminal();
  const extended = withPluginCommands(program, argv, () => findPluginPackages(folder).packages);
  return { code: await dispatch(extended, argv, terminal), output: output() };
}

describe("a plugin's command", () => {
  it("runs with its flags, and gives the exit code", async () => {
    expect(await run(project(), ["greet", "--kindly"])).toEqual({ code: 3, output: "hello kindly" });
  });

  it("is listed with its line, without the package's code being run", async () => {
    const { output } = await run(project(undefined, "throw new Error('not to be loaded')"), ["--help"]);
    expect(output).toMatch(/^ +greet +say hello$/m);
    expect(output).not.toContain("--loudly");
  });

  it("stands in for a command when its flag is given, and only then", async () => {
    expect(await run(project(), ["doctor", "--loudly"])).toEqual({ code: 3, output: "HELLO loudly" });
    const { output } = await run(project(), ["doctor", "--help"]);
    expect(output).not.toContain("loudly");
  });

  it("is an error that says what is wrong where the package does not export what it says", async () => {
    await expect(run(project({ greet: "", wave: "" }), ["greet"])).rejects.toThrow(
      'greeter 1.2.3: its plugins serve doctor --loudly, but "commands" of its package.json does not say so.',
    );
    await expect(
      run(project({ greet: "" }, `${pluginCode(PATH)} export const commands = [{ name: "greet" }];`), ["greet"]),
    ).rejects.toThrow('commands[0] is no command: it needs a name, a summary and a function "load"');
  });

  it("names the package to add where the project has not got it", async () => {
    const folder = projectFolder([]);
    const remedy = "which is not installed. Add it: npx fms-accel install aadp";
    await expect(run(folder, ["assert-packing", "model"])).rejects.toThrow(remedy);
    await expect(run(folder, ["preview", "--packing"])).rejects.toThrow(remedy);
    expect((await run(folder, ["--help"])).output).not.toContain("assert-packing");
  });
});

it("looks at no package where nothing of a plugin can be meant", () => {
  const argv = ["doctor"];
  const extended = withPluginCommands(program, argv, () => {
    throw new Error("not to be asked");
  });
  expect(extended).toBe(program);
});
