import { readJsonFixture } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import { runCommandLine } from "../../src/cli/main.ts";
import { listPlugins, printPlugins } from "../../src/commands/plugins.ts";
import { discoverPlugins } from "../../src/plugins/discover-plugins.ts";
import { program } from "../../src/program.ts";
import { captureTerminal } from "../cli/captured-terminal.ts";
import { installFlat, installLinked, pluginPackage, projectFolder } from "../plugins/project-folder.ts";

const AADP = "@fms-accel/attention-and-distributed-packing";

async function printed(project: string): Promise<string> {
  const { terminal, output } = captureTerminal();
  printPlugins(listPlugins(await discoverPlugins(project)), terminal);
  return output();
}

describe("plugins", () => {
  it("lists the original's plugins that there are, by its short names and in its order", async () => {
    const { command_line: messages } = readJsonFixture<{ command_line: { argv: string[]; stdout: string }[] }>(
      "framework",
      "messages.json",
    );
    const reference = messages.find(({ argv }) => argv.join(" ") === "plugins")?.stdout ?? "";
    const shortnames = (text: string): string[] =>
      [...text.matchAll(/^\d+\. .* \[(\w+)\]/gm)].map(([, name]) => name ?? "");
    const absent = new Set(["odm", "mcp"]);
    const output = await printed(projectFolder([]));
    expect(shortnames(output)).toEqual(shortnames(reference).filter((name) => !absent.has(name)));
    expect(shortnames(output)).toHaveLength(4);
    expect(output.split("\n").slice(0, 2)).toEqual(reference.split("\n").slice(0, 2));
    expect(output).not.toContain("(installed)");
  });

  it.each([
    ["npm's", installFlat],
    ["pnpm's", installLinked],
  ])(
    "marks those that are installed, with their versions, in %s layout; other people's come last",
    async (_, install) => {
      const project = projectFolder([AADP, "@someone/plugin"]);
      install(project, {
        [AADP]: pluginPackage(AADP, "training.attention.padding_free", {
          manifest: { shortname: "aadp", paths: ["training.attention.padding_free"] },
        }),
        "@someone/plugin": pluginPackage("@someone/plugin", "training.mine", {
          manifest: { shortname: "mine", paths: ["training.mine"] },
        }),
      });
      expect(await printed(project)).toBe(`
Choose from the list of plugin shortnames, and do:
 * 'fms-accel install <package-manager-flags> PLUGIN_NAME'.

List of PLUGIN_NAME [PLUGIN_SHORTNAME]:

1. @fms-accel/accelerated-peft [peft] (not available yet)
2. @fms-accel/fused-ops-and-kernels [foak] (not available yet)
3. ${AADP} [aadp] (installed) 1.2.3
4. @fms-accel/accelerated-moe [moe] (not available yet)
5. @someone/plugin [mine] (installed) 1.2.3
`);
    },
  );

  it("says why an installed one cannot be used, and what to do", async () => {
    const project = projectFolder(["a", AADP]);
    installFlat(project, { a: pluginPackage("a", "training.a", { code: 'throw new Error("broken")' }) });
    const output = await printed(project);
    expect(output).toContain(
      "5. a [x] (installed) 1.2.3\n   cannot be used: it cannot be loaded: broken. Install it again;",
    );
    expect(output).toContain(`3. ${AADP} [aadp]\n   cannot be used: `);
    expect(output).toContain("names it, but it is not installed. Install the project's dependencies.");
  });

  it("sends to `fms-accel build` where native code can be compiled", async () => {
    const project = projectFolder(["a"]);
    const code = 'throw new Error("the kernels are not built (/x/a.node is missing)")';
    const files = pluginPackage("a", "training.a", { code });
    installFlat(project, { a: { ...files, "CMakeLists.txt": "" } });
    expect(await printed(project)).toContain("Compile it: npx fms-accel build.");
  });

  it("is for machines too, and takes no words", async () => {
    const json = captureTerminal();
    expect(await runCommandLine(program, ["plugins", "--json"], json.terminal)).toBe(0);
    const list = JSON.parse(json.output()) as { shortname: string }[];
    expect(list.map(({ shortname }) => shortname).slice(0, 4)).toEqual(["peft", "foak", "aadp", "moe"]);
    const extra = captureTerminal();
    expect(await runCommandLine(program, ["plugins", "extra"], extra.terminal)).toBe(1);
    expect(extra.notes()).toContain("plugins got 1 word that belongs to no flag");
  });
});
