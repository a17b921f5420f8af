import type { CommandDefinition } from "../cli/command-definition.ts";
import { trainFlagGroups } from "./train-flags.ts";

export const trainCommand: CommandDefinition = {
  positionals: [],
  groups: trainFlagGroups(),
  examples: [
    "fms-accel train --model_name_or_path ./SmolLM-135M --training_data_path data.jsonl --output_dir out \\",
    "    --peft_method lora --r 16 --target_modules all-linear --learning_rate 2e-4 --num_train_epochs 1 --bf16",
    "fms-accel train --config run.yaml --learning_rate 1e-4",
  ],
  async run(): Promise<number> {
    return 0;
  },
};
