import type { CommandDefinition } from "../cli/command-definition.ts";

export const evaluateCommand: CommandDefinition = {
  positionals: [],
  groups: [],
  examples: [],
  async run(): Promise<number> {
    return 0;
  },
};
