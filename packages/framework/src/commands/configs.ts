import { readFileSync } from "node:fs";
import type { CommandDefinition } from "../cli/command-definition.ts";
import { printLine } from "../cli/terminal.ts";
import {
  findSampleConfiguration,
  sampleConfigurationFile,
  sampleConfigurations,
  type SampleConfiguration,
} from "../samples/sample-configurations.ts";

export const configsCommand: CommandDefinition = {
  positionals: [["[shortname]", "print this configuration instead of the list"]],
  groups: [],
  examples: ["fms-accel configs", "fms-accel configs aadp-padding-free > framework.yaml"],
  positionalWords: () => sampleConfigurations().map(({ shortname }) => shortname),

  async run({ positionals: [shortname] }, { output, colors }): Promise<number> {
    if (shortname !== undefined) {
      output.write(readFileSync(sampleConfigurationFile(findSampleConfiguration(shortname)), "utf8"));
      return 0;
    }
    for (const [at, entry] of sampleConfigurations().entries()) {
      const mark = describeMissing(entry);
      printLine(output, `${at + 1}. ${describeEntry(entry)}${mark === "" ? "" : colors.yellow(mark)}`);
    }
    return 0;
  },
};

/** As the original prints it. */
function describeEntry({ shortname, filename, plugins }: SampleConfiguration): string {
  return `${shortname} (${filename}) - plugins: [${plugins.map((plugin) => `'${plugin}'`).join(", ")}]`;
}

function describeMissing({ missingPlugins }: SampleConfiguration): string {
  return missingPlugins.length === 0 ? "" : ` (not available yet: ${missingPlugins.join(", ")})`;
}
