import type { CommandDefinition } from "../cli/command-definition.ts";

export const previewCommand: CommandDefinition = {
  positionals: [],
  groups: [],
  examples: [],
  async run(): Promise<number> {
    return 0;
  },
};
