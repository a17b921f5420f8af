import { dirname } from "node:path";
import {
  AdapterModel,
  AutoConfig,
  AutoModelForCausalLM,
  getPeftModel,
  LoraConfig,
  type LoraConfigOptions,
  openAdapter,
  PromptTuningConfig,
  PromptTuningModel,
  type CausalLM,
  type PreTrainedTokenizer,
} from "@fms-accel/models";
import { Generator } from "@fms-accel/tensor";
import {
  camelCase,
  loraArgumentTable,
  type ParsedArguments,
  type PeftArguments,
  type TrainerSlots,
  type TrainingArguments,
} from "@fms-accel/trainer";
import type { AccelerationFramework } from "../acceleration-framework.ts";
import { warningSink, type Terminal } from "../cli/terminal.ts";
import { UsageError } from "../errors.ts";
import { noAdapter } from "./adapter-flags.ts";
import { loadTokenizer, requireFolder, tokenizerFolder } from "./load-for-use.ts";
import { useDevice } from "./use-device.ts";

/** What is trained, and the tokenizer that goes with it; pretokenised data needs none. */
export interface TrainableParts {
  readonly model: CausalLM;
  readonly tokenizer: PreTrainedTokenizer | undefined;
  /** As plugins left them. */
  readonly training: TrainingArguments;
  /** The parts of the trainer that plugins replace. */
  readonly slots: TrainerSlots<CausalLM> | undefined;
}

/**
 * Makes the model of a run: a checkpoint or a new one, changed by plugins, with a new adapter, one to go on with, or none.
 *
 * @param framework the plugins of the run, if there are any
 */
export async function createTrainable(
  args: ParsedArguments,
  terminal: Terminal,
  framework?: AccelerationFramework,
): Promise<TrainableParts> {
  const { data } = args;
  if (data.addSpecialTokens !== null) {
    throw new UsageError(
      "--add_special_tokens: the embedding cannot be resized yet. Use a tokenizer and model that have the tokens.",
    );
  }
  const base = await createBase(args, terminal, framework);
  const planned = plannedAdapter(args);
  const run = await framework?.augment({ model: base, args: args.training, peftConfig: planned });
  const training = run?.args ?? args.training;
  const peftConfig = run === undefined ? planned : run.peftConfig;
  const model = await withAdapter(run?.model ?? base, { ...args, training }, peftConfig, warningSink(terminal));
  model.gradientCheckpointing = training.gradientCheckpointing;
  return { model, tokenizer: await trainingTokenizer(args, terminal), training, slots: run?.slots };
}

/** The adapter that a run adds; none when it trains all weights, or goes on with one. */
export function plannedAdapter({ model: choice, peft }: ParsedArguments): LoraConfig | undefined {
  return choice.adapter === null && peft.peftMethod === "lora" ? loraConfig(peft, choice.modelNameOrPath) : undefined;
}

/** A model as it is trained: with a new adapter, with one to go on with, or all of it. */
export async function withAdapter(
  base: CausalLM,
  { model: choice, peft, training }: ParsedArguments,
  peftConfig: LoraConfig | undefined,
  onWarning: (message: string) => void,
): Promise<CausalLM> {
  if (choice.adapter !== null) {
    return openAdapter(base, choice.adapter, { isTrainable: true, onWarning });
  }
  const generator = new Generator(training.seed);
  if (peftConfig !== undefined) return getPeftModel(base, peftConfig, { generator, onWarning });
  if (peft.peftMethod === "pt") return PromptTuningModel.create(base, promptTuningConfig(peft, choice), { generator });
  // A plugin may have added the adapter itself.
  if (!(base instanceof AdapterModel)) base.requiresGrad_(true);
  return base;
}

async function createBase(
  { model, training }: ParsedArguments,
  terminal: Terminal,
  framework: AccelerationFramework | undefined,
): Promise<CausalLM> {
  const options = {
    dtype: model.torchDtype,
    device: useDevice(model.device, terminal),
    lowMemory: model.lowMemory,
    onWarning: warningSink(terminal),
  };
  const custom = framework?.requiresCustomLoading === true;
  if (model.modelConfig !== null) {
    if (custom) throw new UsageError("--model_config: an active plugin opens a checkpoint. Use --model_name_or_path.");
    const config = await AutoConfig.fromPretrained(model.modelConfig, options);
    return AutoModelForCausalLM.fromConfig(config, { ...options, seed: training.seed });
  }
  requireFolder(model.modelNameOrPath ?? "");
  if (custom) return framework.loadModel({ ...options, modelNameOrPath: model.modelNameOrPath ?? "" });
  return AutoModelForCausalLM.fromPretrained(model.modelNameOrPath ?? "", options);
}

function loraConfig(peft: PeftArguments, base: string | null): LoraConfig {
  const names = new Set(loraArgumentTable.map(({ name }) => camelCase(name)));
  // The patterns are JSON objects so far; LoraConfig checks their values.
  const settings: LoraConfigOptions = Object.fromEntries(Object.entries(peft).filter(([name]) => names.has(name)));
  return new LoraConfig({ ...settings, baseModelNameOrPath: base });
}

/** As in fms-hf-tuning, the tokenizer of the first text is the run's. */
function promptTuningConfig(peft: PeftArguments, choice: ParsedArguments["model"]): PromptTuningConfig {
  const { promptTuningInit, numVirtualTokens, promptTuningInitText } = peft;
  return new PromptTuningConfig({
    numVirtualTokens,
    promptTuningInit,
    promptTuningInitText: promptTuningInit === "TEXT" ? promptTuningInitText : null,
    tokenizerNameOrPath: choice.tokenizerNameOrPath ?? choice.modelNameOrPath,
    baseModelNameOrPath: choice.modelNameOrPath,
  });
}

async function trainingTokenizer(
  { model, data }: ParsedArguments,
  terminal: Terminal,
): Promise<PreTrainedTokenizer | undefined> {
  const folder = model.modelNameOrPath ?? dirname(model.modelConfig ?? "");
  const folders = model.adapter === null ? [] : [model.adapter];
  const found = tokenizerFolder({ ...model, folder, adapters: { ...noAdapter, folders } });
  return found === undefined ? undefined : loadTokenizer(found, data.chatTemplate, terminal);
}
