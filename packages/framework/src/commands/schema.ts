import { writeTextAtomically } from "@fms-accel/models";
import { parseArgumentValue } from "@fms-accel/trainer";
import type { CommandDefinition } from "../cli/command-definition.ts";
import { printLine } from "../cli/terminal.ts";
import { configurationJsonSchema } from "../configuration/json-schema.ts";
import { describeProblem, discoverPlugins } from "../plugins/discover-plugins.ts";

const outputRow = {
  name: "output",
  type: "string",
  default: null,
  help: "File to write; printed when left out.",
} as const;

export const schemaCommand: CommandDefinition = {
  positionals: [],
  groups: [{ heading: "Output", rows: [outputRow] }],
  examples: [
    "fms-accel schema --output acceleration.schema.json",
    "    with # yaml-language-server: $schema=acceleration.schema.json as the first line of a configuration",
  ],

  async run({ flags }, { output, notes }): Promise<number> {
    const { registrations, problems } = await discoverPlugins();
    for (const problem of problems) printLine(notes, `Left out: ${describeProblem(problem)}`);
    const text = JSON.stringify(configurationJsonSchema(registrations), null, 2);
    const given = flags.find(({ name }) => name === outputRow.name);
    if (given === undefined) printLine(output, text);
    else writeTextAtomically(String(parseArgumentValue(outputRow, given.value, given.where)), `${text}\n`);
    return 0;
  },
};
