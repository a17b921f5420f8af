import type { CommandDefinition } from "../cli/command-definition.ts";
import { bashCompletion } from "../completion/bash.ts";
import { completionModel, type CompletionModel } from "../completion/completion-model.ts";
import { fishCompletion } from "../completion/fish.ts";
import { zshCompletion } from "../completion/zsh.ts";
import { didYouMean } from "../cli/suggestions.ts";
import { UsageError } from "../errors.ts";

const shells: Readonly<Record<string, (model: CompletionModel) => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

export const completionCommand: CommandDefinition = {
  positionals: [["[shell]", "bash, zsh or fish"]],
  groups: [],
  examples: [
    "source <(fms-accel completion bash)        in ~/.bashrc",
    "source <(fms-accel completion zsh)         in ~/.zshrc",
    "fms-accel completion fish | source         in ~/.config/fish/config.fish",
  ],
  positionalWords: () => Object.keys(shells),

  async run({ positionals: [shell = ""] }, { output }): Promise<number> {
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
    output.write(render(await completionModel(program)));
    return 0;
  },
};
