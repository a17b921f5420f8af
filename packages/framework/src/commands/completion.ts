import type { CommandDefinition } from "../cli/command-definition.ts";
import { bashCompletion } from "../completion/bash.ts";
import { completionModel, type CompletionModel } from "../completion/completion-model.ts";
import { fishCompletion } from "../completion/fish.ts";
import { zshCompletion } from "../completion/zsh.ts";
import { didYouMean } from "../cli/suggestions.ts";
import { printLine } from "../cli/terminal.ts";
import { UsageError } from "../errors.ts";
import { pluginCommandEntries, pluginPackagesHere } from "../plugins/plugin-commands.ts";

/** The script of each shell. */
export const shells: Readonly<Record<string, (model: CompletionModel) => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

export const completionCommand: CommandDefinition = {
  positionals: [["[shell]", "bash, zsh or fish"]],
  groups: [],
  examples: [
    "source <(npx fms-accel completion bash)",
    "source <(npx fms-accel completion zsh)      after compinit",
    "npx fms-accel completion fish | source",
    "(in the project's folder, so that commands and flags of its plugins are known)",
  ],
  positionalWords: () => Object.keys(shells),

  async run({ positionals: [shell = ""] }, { output, notes, noteColors }): Promise<number> {
    const render = Object.hasOwn(shells, shell) ? shells[shell] : undefined;
    if (render === undefined) {
      const names = Object.keys(shells);
      throw new UsageError(
        shell === ""
          ? `no shell is given: ${names.join(", ")}.`
          : `unknown shell "${shell}": ${names.join(", ")} are known.${didYouMean(shell, names)}`,
      );
    }
    // The program lists this command, so it can only be loaded when the command runs.
    const { program } = await import("../program.ts");
    const added = pluginCommandEntries(pluginPackagesHere());
    const model = await completionModel(program, added, (name, reason) =>
      printLine(notes, noteColors.yellow(`Left out: ${name}: ${reason}`)),
    );
    output.write(render(model));
    return 0;
  },
};
