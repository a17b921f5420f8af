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
  const { model: choice, data, peft, training } = args;
  if (data.addSpecialTokens !== null) {
    throw new UsageError(
      "--add_special_tokens: the embedding cannot be resized yet. Use a tokenizer and model that have the tokens.",
    );
  }
  const base = await createBase(args, terminal);
  const onWarning = warningSink(terminal);
  let model: CausalLM = base;
  if (choice.adapter !== null)
    model = await PeftModel.fromPretrained(base, choice.adapter, { isTrainable: true, onWarning });
  else if (peft.peftMethod === "lora") {
    const generator = new Generator(training.seed);
    model = getPeftModel(base, loraConfig(peft, choice.modelNameOrPath), { generator, onWarning });
  } else model.requiresGrad_(true);
  model.gradientCheckpointing = training.gradientCheckpointing;
  return { model, tokenizer: await trainingTokenizer(args, terminal) };
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
