/** fms-hf-tuning's ModelArguments, and what this project adds to them. */
export const modelArgumentTable = [
  { name: "model_name_or_path", type: "string", default: null, help: "Folder of a Hugging Face checkpoint." },
  {
    name: "model_config",
    type: "string",
    default: null,
    help: "A config.json: train its model from scratch instead of from a checkpoint.",
  },
  { name: "adapter", type: "string", default: null, help: "Folder of a LoRA adapter to go on training." },
  {
    name: "tokenizer_name_or_path",
    type: "string",
    default: null,
    help: "Folder of the tokenizer, when it is not the model's.",
  },
  {
    name: "torch_dtype",
    type: "string",
    default: "bfloat16",
    choices: ["float32", "bfloat16", "float16", "auto"],
    help: "Data type the model's weights are loaded in; auto: as stored. New adapter weights are float32.",
    aliases: ["dtype"],
    huggingFaceDefault: "float32",
  },
  {
    name: "device",
    type: "string",
    default: "cpu",
    help: "Device to compute on: cpu, cuda or cuda:<n>; auto: the first GPU where one can be used, else the CPU.",
  },
  {
    name: "low_memory",
    type: "boolean",
    default: false,
    help: "Hold no weight twice while a model is loaded, converted, copied for training or merged; the same results, with a mapping of the file for each tensor (Linux allows 65,530).",
  },
] as const;

/** fms-hf-tuning's DataArguments, and what this project adds to them. */
export const dataArgumentTable = [
  {
    name: "training_data_path",
    type: "string",
    default: null,
    help: "File or folder of training samples: json, jsonl, parquet or arrow.",
  },
  { name: "validation_data_path", type: "string", default: null, help: "File or folder of samples for eval_loss." },
  { name: "dataset_text_field", type: "string", default: null, help: "Column that holds the text of a sample." },
  {
    name: "dataset_conversation_field",
    type: "string",
    default: null,
    help: "Column that holds the messages of a chat.",
  },
  {
    name: "data_formatter_template",
    type: "string",
    default: null,
    help: "Jinja template that makes the text of a sample from its columns.",
  },
  { name: "chat_template", type: "string", default: null, help: "Jinja chat template that replaces the tokenizer's." },
  {
    name: "response_template",
    type: "string",
    default: null,
    help: "Text that opens the answer; only tokens after it are trained.",
  },
  {
    name: "instruction_template",
    type: "string",
    default: null,
    help: "Text that opens a question; with response_template, for several turns.",
  },
  { name: "add_special_tokens", type: "strings", default: null, help: "Further special tokens of the tokenizer." },
  {
    name: "long_samples",
    type: "string",
    default: null,
    choices: ["error", "truncate", "split", "drop"],
    help: "A sample longer than allowed: refuse, cut, split or drop it; counted. Unset: truncate at max_seq_length, error where packing has less room.",
  },
  {
    name: "empty_samples",
    type: "string",
    default: "drop",
    choices: ["drop", "error"],
    help: "A sample without tokens: drop and count it, or refuse it.",
  },
  {
    name: "untrainable_samples",
    type: "string",
    default: "keep",
    choices: ["keep", "drop", "error"],
    help: "A sample of which no token is trained: keep and count it, drop and count it, or refuse it.",
  },
] as const;

const peftMethodTable = [
  {
    name: "peft_method",
    type: "string",
    default: "none",
    choices: ["none", "lora", "pt"],
    help: "none trains every weight, lora an adapter, pt (prompt tuning) vectors that stand before every sequence.",
  },
] as const;

/** PEFT's LoraConfig, with fms-hf-tuning's defaults for r, alpha and dropout. */
export const loraArgumentTable = [
  { name: "r", type: "integer", default: 8, minimum: 1, help: "Rank of the adapter." },
  {
    name: "lora_alpha",
    type: "number",
    default: 32,
    help: "The adapter's output is scaled by lora_alpha / r.",
    huggingFaceDefault: 8,
  },
  {
    name: "lora_dropout",
    type: "number",
    default: 0.05,
    minimum: 0,
    maximum: 1,
    help: "Dropout before the adapter.",
    huggingFaceDefault: 0,
  },
  {
    name: "target_modules",
    type: "stringOrStrings",
    default: null,
    help: "Modules to adapt: names, suffixes, one regular expression, or all-linear.",
  },
  { name: "exclude_modules", type: "stringOrStrings", default: null, help: "Modules not to adapt." },
  {
    name: "modules_to_save",
    type: "strings",
    default: null,
    help: "Modules to train in full and save with the adapter.",
  },
  {
    name: "bias",
    type: "string",
    default: "none",
    choices: ["none", "all", "lora_only"],
    help: "Which biases to train.",
  },
  { name: "use_rslora", type: "boolean", default: false, help: "Scale by lora_alpha / sqrt(r)." },
  { name: "use_dora", type: "boolean", default: false, help: "Weight-decomposed LoRA." },
  {
    name: "init_lora_weights",
    type: "booleanOrString",
    default: true,
    help: "true: A uniform (Kaiming), B zero; gaussian: A normal; false: both random.",
  },
  { name: "layers_to_transform", type: "integers", default: null, help: "Indices of the layers to adapt." },
  {
    name: "layers_pattern",
    type: "stringOrStrings",
    default: null,
    help: "Name of the list of layers, when it is not a usual one.",
  },
  { name: "rank_pattern", type: "json", default: {}, help: "Ranks of single modules: {name or expression: r}." },
  {
    name: "alpha_pattern",
    type: "json",
    default: {},
    help: "Alphas of single modules: {name or expression: lora_alpha}.",
  },
  { name: "fan_in_fan_out", type: "boolean", default: false, help: "Weights are stored as [in, out]." },
  {
    name: "target_parameters",
    type: "strings",
    default: null,
    help: "Weights of experts to adapt: experts.gate_up_proj, experts.down_proj; gate.weight is the router. Needs lora_dropout 0.",
  },
  {
    name: "ensure_weight_tying",
    type: "boolean",
    default: false,
    help: "Where embedding and output head share a weight, adapt both alike.",
  },
] as const;

/** fms-hf-tuning's PromptTuningConfig, for `--peft_method pt`. */
export const promptTuningArgumentTable = [
  {
    name: "prompt_tuning_init",
    type: "string",
    default: "TEXT",
    choices: ["TEXT", "RANDOM", "SAMPLE_VOCAB"],
    help: "Where the vectors start: at the embeddings of a text, at random, or at those of random tokens.",
    huggingFaceDefault: "RANDOM",
  },
  { name: "num_virtual_tokens", type: "integer", default: 8, minimum: 1, help: "How many vectors there are." },
  {
    name: "prompt_tuning_init_text",
    type: "string",
    default: "Classify if the tweet is a complaint or not:",
    help: "The text for prompt_tuning_init TEXT, repeated or cut to num_virtual_tokens.",
    huggingFaceDefault: null,
  },
] as const;

/** fms-hf-tuning's choice of PEFT method, and the settings of each. */
export const peftArgumentTable: readonly [
  ...typeof peftMethodTable,
  ...typeof loraArgumentTable,
  ...typeof promptTuningArgumentTable,
] = [...peftMethodTable, ...loraArgumentTable, ...promptTuningArgumentTable];
