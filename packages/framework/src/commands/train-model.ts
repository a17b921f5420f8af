import { dirname } from "node:path";
import {
  AutoConfig,
  AutoModelForCausalLM,
  getPeftModel,
  LoraConfig,
  type LoraConfigOptions,
  PeftModel,
  type CausalLM,
  type PreTrainedTokenizer,
} from "@fms-accel/models";
import { Generator } from "@fms-accel/tensor";
import type { ParsedArguments, PeftArguments } from "@fms-accel/trainer";
import { warningSink, type Terminal } from "../cli/terminal.ts";
import { UsageError } from "../errors.ts";
import { loadTokenizer, requireFolder, tokenizerFolder } from "./load-for-use.ts";

/** What is trained, and the tokenizer that goes with it; pretokenised data needs none. */
export interface TrainableParts {
  readonly model: CausalLM;
  readonly tokenizer: PreTrainedTokenizer | undefined;
}

/** Makes the model of a run: a checkpoint or a new one, with a new adapter, one to go on with, or none. */
export async function createTrainable(args: ParsedArguments, terminal: Terminal): Promise<TrainableParts> {
  const { data, training } = args;
  if (data.addSpecialTokens !== null) {
    throw new UsageError(
      "--add_special_tokens: the embedding cannot be resized yet. Use a tokenizer and model that have the tokens.",
    );
  }
  const model = await withAdapter(await createBase(args, terminal), args, warningSink(terminal));
  model.gradientCheckpointing = training.gradientCheckpointing;
  return { model, tokenizer: await trainingTokenizer(args, terminal) };
}

/** A model as it is trained: with a new adapter, with one to go on with, or all of it. */
export async function withAdapter(
  base: CausalLM,
  { model: choice, peft, training }: ParsedArguments,
  onWarning: (message: string) => void,
): Promise<CausalLM> {
  if (choice.adapter !== null) {
    return PeftModel.fromPretrained(base, choice.adapter, { isTrainable: true, onWarning });
  }
  if (peft.peftMethod === "lora") {
    const generator = new Generator(training.seed);
    return getPeftModel(base, loraConfig(peft, choice.modelNameOrPath), { generator, onWarning });
  }
  base.requiresGrad_(true);
  return base;
}

async function createBase({ model, training }: ParsedArguments, terminal: Terminal): Promise<CausalLM> {
  const options = { dtype: model.torchDtype, device: model.device, onWarning: warningSink(terminal) };
  if (model.modelConfig !== null) {
    const config = await AutoConfig.fromPretrained(model.modelConfig, options);
    return AutoModelForCausalLM.fromConfig(config, { ...options, seed: training.seed });
  }
  requireFolder(model.modelNameOrPath ?? "");
  return AutoModelForCausalLM.fromPretrained(model.modelNameOrPath ?? "", options);
}

function loraConfig(peft: PeftArguments, base: string | null): LoraConfig {
  const { peftMethod: _, ...settings } = peft;
  // The patterns are JSON objects so far; LoraConfig checks their values.
  return new LoraConfig({ ...settings, baseModelNameOrPath: base } as LoraConfigOptions);
}

async function trainingTokenizer(
  { model, data }: ParsedArguments,
  terminal: Terminal,
): Promise<PreTrainedTokenizer | undefined> {
  const folder = model.modelNameOrPath ?? dirname(model.modelConfig ?? "");
  const found = tokenizerFolder({ ...model, folder });
  return found === undefined ? undefined : loadTokenizer(found, data.chatTemplate, terminal);
}
