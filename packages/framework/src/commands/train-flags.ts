import { argumentTables, inertArgumentTable, loraArgumentTable, promptTuningArgumentTable } from "@fms-accel/trainer";
import { selectRows, type FlagGroup, type FlagRow } from "../cli/flag-table.ts";

/** How `train --help` groups the long table of training arguments; a row that is in no list comes last, under its own heading. */
const trainingHeadings: readonly (readonly [heading: string, names: readonly string[]])[] = [
  ["Output", ["output_dir", "save_model_dir", "run_name"]],
  [
    "Batches and steps",
    [
      "per_device_train_batch_size",
      "gradient_accumulation_steps",
      "num_train_epochs",
      "max_steps",
      "max_seq_length",
      "train_sampling_strategy",
      "group_by_length",
      "streaming",
      "streaming_window",
      "dataloader_drop_last",
      "average_tokens_across_devices",
      "no_trainable_tokens",
    ],
  ],
  [
    "Optimiser and learning rate",
    [
      "learning_rate",
      "lr_scheduler_type",
      "lr_scheduler_kwargs",
      "warmup_steps",
      "warmup_ratio",
      "optim",
      "weight_decay",
      "adam_beta1",
      "adam_beta2",
      "adam_epsilon",
      "max_grad_norm",
      "non_finite_loss",
      "seed",
      "data_seed",
    ],
  ],
  ["Precision and memory", ["bf16", "fp16", "gradient_checkpointing", "cuda_graphs", "max_cuda_graphs"]],
  [
    "Logging",
    [
      "logging_strategy",
      "logging_steps",
      "logging_first_step",
      "include_num_input_tokens_seen",
      "disable_tqdm",
      "trackers",
      "training_logs_filename",
    ],
  ],
  ["Evaluation", ["eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "per_device_eval_batch_size"]],
  [
    "Checkpoints",
    [
      "save_strategy",
      "save_steps",
      "save_total_limit",
      "save_only_model",
      "resume_from_checkpoint",
      "ignore_data_skip",
      "load_best_model_at_end",
      "metric_for_best_model",
      "greater_is_better",
    ],
  ],
];

const configRow: FlagRow = {
  name: "config",
  type: "string",
  default: null,
  help: "YAML file of arguments, keys as below without --; flags win over it.",
};

/** Groups for `train --help`. */
export function trainFlagGroups(): FlagGroup[] {
  const placed = new Set(trainingHeadings.flatMap(([, names]) => names));
  const rest = argumentTables.training.filter(({ name }) => !placed.has(name));
  return [
    { heading: "Configuration", rows: [configRow] },
    { heading: "Model", rows: argumentTables.model },
    { heading: "Data", rows: argumentTables.data },
    { heading: "Adapter", rows: selectRows(argumentTables.peft, ["peft_method"]) },
    { heading: "LoRA (with --peft_method lora)", rows: loraArgumentTable },
    { heading: "Prompt tuning (with --peft_method pt)", rows: promptTuningArgumentTable },
    ...trainingHeadings.map(([heading, names]) => ({ heading, rows: selectRows(argumentTables.training, names) })),
    ...(rest.length === 0 ? [] : [{ heading: "Further training arguments", rows: rest }]),
    { heading: undefined, rows: inertArgumentTable },
  ];
}
