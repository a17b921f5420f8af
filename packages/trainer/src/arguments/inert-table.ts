import type { InertArgumentDefinition } from "./definition.ts";

const oneProcess = "there is no torch process group here; ranks come from the communicator";
const noTorchAmp = "--bf16 and --fp16 say all there is to say about mixed precision";
const noWorkers = "batches are collated in this process";
const alwaysDeterministic = "every run here is deterministic";
const noHub = "nothing is uploaded; use the hub's own tools on output_dir";
const noTracker = "only file_logger is built in; a callback can feed any tracker";
const noMetrics = "evaluation computes the loss only, and keeps no logits";
const noCompile = "there is no graph compiler here; kernels are compiled ahead";
const fsdp = "weights are not sharded over ranks";
const fixedDevice = "the device is chosen by --device";

/** Arguments of TrainingArguments, fms-hf-tuning and PEFT that are known and have no effect, with the reason. */
export const inertArgumentTable: readonly InertArgumentDefinition[] = [
  // ---- TrainingArguments: what to run
  {
    name: "overwrite_output_dir",
    type: "boolean",
    default: false,
    ignored: "output_dir is never emptied; a new checkpoint replaces one of the same step",
  },
  { name: "do_train", type: "boolean", default: false, ignored: "the command says what to do" },
  { name: "do_eval", type: "boolean", default: false, ignored: "evaluation is switched on by eval_strategy" },
  { name: "do_predict", type: "boolean", default: false, ignored: "the command says what to do" },
  { name: "prediction_loss_only", type: "boolean", default: false, ignored: noMetrics },
  { name: "per_gpu_train_batch_size", type: "integer", default: null, unsupported: "use per_device_train_batch_size" },
  { name: "per_gpu_eval_batch_size", type: "integer", default: null, unsupported: "use per_device_eval_batch_size" },
  { name: "eval_accumulation_steps", type: "integer", default: null, ignored: noMetrics },
  { name: "eval_do_concat_batches", type: "boolean", default: true, ignored: noMetrics },
  { name: "eval_use_gather_object", type: "boolean", default: false, ignored: noMetrics },
  { name: "batch_eval_metrics", type: "boolean", default: false, ignored: noMetrics },
  { name: "include_inputs_for_metrics", type: "boolean", default: false, ignored: noMetrics },
  { name: "include_for_metrics", type: "strings", default: [], ignored: noMetrics },
  { name: "label_names", type: "strings", default: null, ignored: "labels are always called labels" },
  { name: "past_index", type: "integer", default: -1, ignored: "no model here returns a recurrent state" },
  { name: "use_legacy_prediction_loop", type: "boolean", default: false, ignored: "there is one evaluation loop" },
  {
    name: "auto_find_batch_size",
    type: "boolean",
    default: false,
    unsupported: "set per_device_train_batch_size and gradient_accumulation_steps yourself",
  },

  // ---- TrainingArguments: numbers of the optimisation
  { name: "adafactor", type: "boolean", default: false, unsupported: "the optimiser is AdamW" },
  {
    name: "optim_args",
    type: "string",
    default: null,
    unsupported: "AdamW is set by adam_beta1, adam_beta2, adam_epsilon and weight_decay",
  },
  {
    name: "optim_target_modules",
    type: "stringOrStrings",
    default: null,
    unsupported: "low-rank optimisers are not implemented",
  },
  {
    name: "label_smoothing_factor",
    type: "number",
    default: 0,
    unsupported: "give the trainer a loss function of your own instead",
  },
  { name: "neftune_noise_alpha", type: "number", default: null, unsupported: "noise on embeddings is not implemented" },
  {
    name: "logging_nan_inf_filter",
    type: "boolean",
    default: true,
    ignored: "a loss that is not finite is never averaged into the log; see non_finite_loss",
  },
  { name: "full_determinism", type: "boolean", default: false, ignored: alwaysDeterministic },
  {
    name: "enable_reduce_loss_sum",
    type: "boolean",
    default: false,
    unsupported:
      "the loss is always the mean over the trainable tokens of the whole step, which that option works around",
  },
  {
    name: "packing",
    type: "boolean",
    default: false,
    unsupported:
      "--multipack with --padding_free packs samples, and lets none see another (npx fms-accel install aadp)",
  },

  // ---- TrainingArguments: precision and device
  { name: "fp16_opt_level", type: "string", default: "O1", ignored: noTorchAmp },
  { name: "fp16_backend", type: "string", default: "auto", ignored: noTorchAmp },
  { name: "half_precision_backend", type: "string", default: "auto", ignored: noTorchAmp },
  { name: "bf16_full_eval", type: "boolean", default: false, ignored: "evaluation runs in the precision of training" },
  { name: "fp16_full_eval", type: "boolean", default: false, ignored: "evaluation runs in the precision of training" },
  { name: "tf32", type: "boolean", default: null, ignored: "float32 matrix products are computed in float32" },
  { name: "no_cuda", type: "boolean", default: false, ignored: fixedDevice },
  { name: "use_cpu", type: "boolean", default: false, ignored: fixedDevice },
  { name: "use_mps_device", type: "boolean", default: false, ignored: fixedDevice },
  {
    name: "use_ipex",
    type: "boolean",
    default: false,
    ignored: "the native engine chooses its instruction set itself",
  },
  { name: "jit_mode_eval", type: "boolean", default: false, ignored: noCompile },
  { name: "torch_compile", type: "boolean", default: false, ignored: noCompile },
  { name: "torch_compile_backend", type: "string", default: null, ignored: noCompile },
  { name: "torch_compile_mode", type: "string", default: null, ignored: noCompile },
  { name: "torchdynamo", type: "string", default: null, ignored: noCompile },
  { name: "use_liger_kernel", type: "boolean", default: false, ignored: "fused kernels come with a plugin" },
  { name: "liger_kernel_config", type: "json", default: null, ignored: "fused kernels come with a plugin" },
  { name: "use_flash_attn", type: "boolean", default: true, ignored: "attention is always computed block by block" },
  {
    name: "flash_attn_implementation",
    type: "string",
    default: "flash_attention_2",
    ignored: "attention is always computed block by block",
  },
  {
    name: "gradient_checkpointing_kwargs",
    type: "json",
    default: null,
    ignored: "checkpointing here is of one kind, that of use_reentrant false",
  },
  {
    name: "torch_empty_cache_steps",
    type: "integer",
    default: null,
    ignored: "memory is freed at the end of every step",
  },
  { name: "skip_memory_metrics", type: "boolean", default: true, ignored: "peak memory is always noted" },
  { name: "tpu_num_cores", type: "integer", default: null, ignored: fixedDevice },
  { name: "tpu_metrics_debug", type: "boolean", default: false, ignored: fixedDevice },

  // ---- TrainingArguments: several processes
  { name: "local_rank", type: "integer", default: -1, ignored: oneProcess },
  { name: "ddp_backend", type: "string", default: null, ignored: oneProcess },
  { name: "ddp_find_unused_parameters", type: "boolean", default: null, ignored: oneProcess },
  { name: "ddp_bucket_cap_mb", type: "integer", default: null, ignored: oneProcess },
  { name: "ddp_broadcast_buffers", type: "boolean", default: null, ignored: oneProcess },
  { name: "ddp_timeout", type: "integer", default: 1800, ignored: oneProcess },
  { name: "accelerator_config", type: "json", default: null, ignored: oneProcess },
  { name: "mp_parameters", type: "string", default: "", ignored: oneProcess },
  { name: "fsdp", type: "string", default: "", unsupported: fsdp },
  { name: "fsdp_min_num_params", type: "integer", default: 0, ignored: fsdp },
  { name: "fsdp_config", type: "json", default: null, unsupported: fsdp },
  { name: "fsdp_transformer_layer_cls_to_wrap", type: "string", default: null, ignored: fsdp },
  { name: "deepspeed", type: "string", default: null, unsupported: fsdp },
  { name: "log_level", type: "string", default: "passive", ignored: "warnings are always shown" },
  { name: "log_level_replica", type: "string", default: "warning", ignored: "only rank 0 prints" },
  { name: "log_on_each_node", type: "boolean", default: true, ignored: "only rank 0 prints" },
  { name: "save_on_each_node", type: "boolean", default: false, ignored: "only rank 0 writes" },

  // ---- TrainingArguments: data loading
  { name: "dataloader_num_workers", type: "integer", default: 0, ignored: noWorkers },
  { name: "dataloader_prefetch_factor", type: "integer", default: null, ignored: noWorkers },
  { name: "dataloader_persistent_workers", type: "boolean", default: false, ignored: noWorkers },
  { name: "dataloader_pin_memory", type: "boolean", default: true, ignored: noWorkers },
  {
    name: "remove_unused_columns",
    type: "boolean",
    default: true,
    ignored: "a collator takes the columns that it knows",
  },
  { name: "length_column_name", type: "string", default: "length", ignored: "lengths are counted, not read" },
  { name: "num_train_dataset_shards", type: "integer", default: 1, ignored: "data sets are not sharded into files" },
  { name: "num_eval_dataset_shards", type: "integer", default: 1, ignored: "data sets are not sharded into files" },
  { name: "cache_dir", type: "string", default: null, ignored: "nothing is downloaded" },

  // ---- TrainingArguments: saving and reporting
  { name: "save_safetensors", type: "boolean", default: true, unsupported: "pickled weights are never written" },
  {
    name: "restore_callback_states_from_checkpoint",
    type: "boolean",
    default: false,
    ignored: "the state of callbacks is always restored",
  },
  {
    name: "include_tokens_per_second",
    type: "boolean",
    default: false,
    ignored: "train_tokens_per_second is always reported",
  },
  { name: "report_to", type: "stringOrStrings", default: "none", ignored: noTracker },
  {
    name: "debug",
    type: "strings",
    default: null,
    ignored: "a loss that is not finite always stops the run; see non_finite_loss",
  },
  { name: "ray_scope", type: "string", default: "last", ignored: "there is no hyperparameter search" },
  { name: "push_to_hub", type: "boolean", default: false, ignored: noHub },
  { name: "hub_model_id", type: "string", default: null, ignored: noHub },
  { name: "hub_strategy", type: "string", default: "every_save", ignored: noHub },
  { name: "hub_token", type: "string", default: null, ignored: noHub },
  { name: "hub_private_repo", type: "boolean", default: null, ignored: noHub },
  { name: "hub_always_push", type: "boolean", default: false, ignored: noHub },
  { name: "hub_revision", type: "string", default: null, ignored: noHub },
  { name: "push_to_hub_model_id", type: "string", default: null, ignored: noHub },
  { name: "push_to_hub_organization", type: "string", default: null, ignored: noHub },
  { name: "push_to_hub_token", type: "string", default: null, ignored: noHub },

  // ---- fms-hf-tuning
  { name: "embedding_size_multiple_of", type: "integer", default: 1, unsupported: "embeddings are not resized" },
  {
    name: "data_config_path",
    type: "string",
    default: null,
    unsupported: "give one file or folder as training_data_path",
  },
  { name: "dataset_image_field", type: "string", default: null, unsupported: "only text is trained" },
  {
    name: "do_dataprocessing_only",
    type: "boolean",
    default: false,
    unsupported: "`fms-accel preview` shows processed samples",
  },
  { name: "trainer_controller_config_file", type: "string", default: null, unsupported: "write a callback instead" },
  {
    name: "quantization_method",
    type: "string",
    default: "none",
    unsupported: "quantised base weights come with a plugin",
  },
  { name: "dequantize", type: "boolean", default: true, ignored: "no mxfp4 checkpoint is loaded" },
  { name: "exp_metadata", type: "string", default: null, ignored: noTracker },
  { name: "experiment", type: "string", default: "fms-hf-tuning", ignored: noTracker },
  { name: "run_uri_export_path", type: "string", default: null, ignored: noTracker },
  { name: "aim_experiment", type: "string", default: null, ignored: noTracker },
  { name: "aim_repo", type: "string", default: null, ignored: noTracker },
  { name: "aim_remote_server_ip", type: "string", default: null, ignored: noTracker },
  { name: "aim_remote_server_port", type: "integer", default: null, ignored: noTracker },
  { name: "aim_url", type: "string", default: null, ignored: noTracker },
  { name: "mlflow_experiment", type: "string", default: null, ignored: noTracker },
  { name: "mlflow_tracking_uri", type: "string", default: null, ignored: noTracker },
  { name: "clearml_project", type: "string", default: "fms-hf-tuning", ignored: noTracker },
  { name: "clearml_task", type: "string", default: "SFTTrainer", ignored: noTracker },
  { name: "scanner_output_filename", type: "string", default: "scanner_output.json", ignored: noTracker },

  // ---- PEFT
  { name: "task_type", type: "string", default: null, ignored: "the task is CAUSAL_LM" },
  { name: "peft_type", type: "string", default: null, ignored: "peft_method chooses the type" },
  { name: "auto_mapping", type: "json", default: null, ignored: "PEFT writes it; it configures nothing" },
  { name: "peft_version", type: "string", default: null, ignored: "PEFT writes it; it configures nothing" },
  {
    name: "base_model_name_or_path",
    type: "string",
    default: null,
    ignored: "model_name_or_path is noted in the adapter",
  },
  { name: "revision", type: "string", default: null, ignored: "nothing is downloaded" },
  {
    name: "inference_mode",
    type: "boolean",
    default: false,
    ignored: "an adapter being trained is not in inference mode",
  },
  { name: "megatron_config", type: "json", default: null, unsupported: "there are no Megatron layers here" },
  { name: "megatron_core", type: "string", default: "megatron.core", ignored: "there are no Megatron layers here" },
  {
    name: "trainable_token_indices",
    type: "integers",
    default: null,
    unsupported: "list embed_tokens in modules_to_save instead",
  },
  { name: "loftq_config", type: "json", default: {}, unsupported: "LoftQ initialisation is not implemented" },
  { name: "eva_config", type: "json", default: null, unsupported: "EVA initialisation is not implemented" },
  { name: "corda_config", type: "json", default: null, unsupported: "CorDA initialisation is not implemented" },
  { name: "arrow_config", type: "json", default: null, unsupported: "Arrow routing is not implemented" },
  { name: "use_qalora", type: "boolean", default: false, unsupported: "QALoRA is not implemented" },
  { name: "qalora_group_size", type: "integer", default: 16, ignored: "QALoRA is not implemented" },
  { name: "layer_replication", type: "strings", default: null, unsupported: "layer replication is not implemented" },
  {
    name: "runtime_config",
    type: "string",
    default: "LoraRuntimeConfig(ephemeral_gpu_offload=False)",
    ignored: "adapters stay on the device of the model",
  },
  { name: "lora_bias", type: "boolean", default: false, unsupported: "adapters have no bias" },
  {
    name: "alora_invocation_string",
    type: "string",
    default: null,
    unsupported: "activated LoRA is not implemented; use --peft_method lora",
  },
  {
    name: "alora_invocation_tokens",
    type: "integers",
    default: null,
    unsupported: "activated LoRA is not implemented; use --peft_method lora",
  },
];
