import type { CommandDefinition } from "../cli/command-definition.ts";
import type { FlagRow } from "../cli/flag-table.ts";
import { printLine, type Terminal } from "../cli/terminal.ts";
import { UsageError } from "../errors.ts";
import { findSampleConfiguration, sampleConfigurations } from "../samples/sample-configurations.ts";
import { findScenarios, type ScenarioMatch } from "../samples/scenario-arguments.ts";

const scenariosRow: FlagRow = {
  name: "scenarios_config_path",
  type: "string",
  default: null,
  help: "Scenario file to search instead of those that come with fms-accel.",
};

export const argumentsCommand: CommandDefinition = {
  positionals: [["[shortname...]", "sample configurations, by the names that `fms-accel configs` lists"]],
  groups: [{ heading: "Flags", rows: [scenariosRow] }],
  examples: ["fms-accel arguments accelerated-peft-bnb", "fms-accel arguments aadp-padding-free foak-fast-kernels"],
  positionalWords: () => sampleConfigurations().map(({ shortname }) => shortname),

  async run({ positionals, flags }, terminal): Promise<number> {
    const given = flags[0]?.value;
    const file = typeof given === "string" ? given : undefined;
    const names = [...new Set(positionals)];
    if (names.length === 0) {
      throw new UsageError("no configuration is given. `fms-accel configs` lists their shortnames.");
    }
    // A scenario file of one's own may name configurations of one's own.
    if (file === undefined) for (const name of names) findSampleConfiguration(name);
    const matches = findScenarios(names, file);
    const unused = names.filter((name) => !matches.some(({ shortnames }) => shortnames.includes(name)));
    printMatches(names, matches, terminal);
    if (unused.length === 0) return 0;
    throw new UsageError(`no scenario uses ${unused.join(", ")}${file === undefined ? "" : ` in ${file}`}.`);
  },
};

/** As the original prints it, but with lists that a shell takes. */
function printMatches(names: readonly string[], matches: readonly ScenarioMatch[], { output }: Terminal): void {
  printLine(output, `Searching for configuration shortnames: [${names.map((name) => `'${name}'`).join(", ")}]`);
  for (const [at, { scenario, shortnames, flags }] of matches.entries()) {
    printLine(output, `${at + 1}. scenario: ${scenario}`);
    printLine(output, `   configs: ${shortnames.join(", ")}`);
    printLine(output, "   arguments:");
    printLine(output, `      ${flags.join(" \\\n      ")}`);
    printLine(output, "\n");
  }
}
