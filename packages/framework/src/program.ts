import { readFileSync } from "node:fs";
import type { Program } from "./cli/main.ts";

interface PackageManifest {
  readonly version: string;
}

function ownVersion(): string {
  return (JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as PackageManifest).version;
}

/** The `fms-accel` program. Commands are loaded when they are called: `doctor` has to work where the engine is not built. */
export const program: Program = {
  name: "fms-accel",
  version: ownVersion(),
  description: "Fine-tune large language models on this machine: a Hugging Face checkpoint in, a PEFT adapter out.",
  commands: [
    {
      name: "train",
      summary: "fine-tune a checkpoint, or train a new model",
      load: async () => {
        const { discoverPlugins } = await import("./plugins/discover-plugins.ts");
        return (await import("./commands/train.ts")).createTrainCommand(await discoverPlugins());
      },
    },
    {
      name: "evaluate",
      summary: "loss and perplexity of a data set, with or without an adapter",
      load: async () => (await import("./commands/evaluate.ts")).evaluateCommand,
    },
    {
      name: "generate",
      summary: "answer prompts; a conversation when started in a terminal",
      load: async () => (await import("./commands/generate.ts")).generateCommand,
    },
    {
      name: "merge",
      summary: "write an adapter into the weights of its model",
      load: async () => (await import("./commands/merge.ts")).mergeCommand,
    },
    {
      name: "estimate",
      summary: "how much memory a training run would take; nothing is loaded",
      load: async () => (await import("./commands/estimate.ts")).estimateCommand,
    },
    {
      name: "preview",
      summary: "show tokens, mask and template of the first samples",
      load: async () => (await import("./commands/preview.ts")).previewCommand,
    },
    {
      name: "install",
      summary: "add a plugin to the project, by its own package manager",
      load: async () => (await import("./commands/install.ts")).installCommand,
    },
    {
      name: "plugins",
      summary: "list the plugins, those that the project has installed marked",
      load: async () => (await import("./commands/plugins.ts")).pluginsCommand,
    },
    {
      name: "configs",
      summary: "list or print the sample configurations of plugins",
      load: async () => (await import("./commands/configs.ts")).configsCommand,
    },
    {
      name: "arguments",
      summary: "the flags of `train` that go with a sample configuration",
      load: async () => (await import("./commands/arguments.ts")).argumentsCommand,
    },
    {
      name: "build",
      summary: "compile the engine and the plugins' native code; downloads nothing",
      load: async () => (await import("./commands/build.ts")).buildCommand,
    },
    {
      name: "schema",
      summary: "JSON schema of the acceleration configuration, for editors",
      load: async () => (await import("./commands/schema.ts")).schemaCommand,
    },
    {
      name: "doctor",
      summary: "what is built, what this machine has, what is missing",
      load: async () => (await import("./commands/doctor.ts")).doctorCommand,
    },
    {
      name: "completion",
      summary: "a completion script for bash, zsh or fish",
      load: async () => (await import("./commands/completion.ts")).completionCommand,
    },
  ],
  closing: `
Start with:
  fms-accel train --model_name_or_path ./SmolLM-135M --training_data_path data.jsonl --output_dir out \\
    --peft_method lora --r 16 --target_modules all-linear --learning_rate 2e-4 --num_train_epochs 1 --bf16
  fms-accel generate ./SmolLM-135M --adapter out --prompt "Summarise: …"

Flags have Hugging Face's names and defaults; \`fms-accel train --help\` lists them.`,
};
