import type { CommandDefinition } from "../cli/command-definition.ts";

export const generateCommand: CommandDefinition = {
  positionals: [],
  groups: [],
  examples: [],
  async run(): Promise<number> {
    return 0;
  },
};
