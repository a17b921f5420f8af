import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  openAdapter,
  PeftModel,
  type CausalLM,
  type PreTrainedTokenizer,
} from "@fms-accel/models";
import { argumentTables, unescapeTemplate } from "@fms-accel/trainer";
import { selectRows, type FlagRow } from "../cli/flag-table.ts";
import { warningSink, type Terminal } from "../cli/terminal.ts";
import { UsageError } from "../errors.ts";
import { adapterTable, type AdapterChoice } from "./adapter-flags.ts";
import { useDevice } from "./use-device.ts";

/** `--torch_dtype` of commands that do not train. */
export const dtypeRow = {
  name: "torch_dtype",
  type: "string",
  default: "auto",
  choices: ["auto", "float32", "bfloat16", "float16"],
  aliases: ["dtype"],
  help: "Data type of the weights; auto: as they are stored.",
} as const;

/** The flags of commands that open a model with its adapters. */
export const modelRows: readonly FlagRow[] = [
  ...selectRows(argumentTables.model, ["model_name_or_path"]),
  ...adapterTable,
  ...selectRows(argumentTables.model, ["tokenizer_name_or_path"]),
  dtypeRow,
];

export type WeightDType = (typeof dtypeRow.choices)[number];

export interface LoadOptions {
  /** Folder of the checkpoint. */
  readonly folder: string;
  readonly adapters: AdapterChoice;
  readonly tokenizerNameOrPath: string | null;
  readonly dtype: WeightDType;
  readonly device: string;
  /** Hold no weight twice, see `ModelLoadOptions`. */
  readonly lowMemory?: boolean | undefined;
  /** Jinja source, or a file with it, in place of the tokenizer's chat template. */
  readonly chatTemplate: string | null;
  readonly terminal: Terminal;
}

export interface LoadedModel {
  readonly model: CausalLM;
  readonly tokenizer: PreTrainedTokenizer;
}

/** Opens a model with its adapter, if any, and its tokenizer; nothing of it requires gradients. */
export async function loadForUse(options: LoadOptions): Promise<LoadedModel> {
  const model = await openModel(options);
  const folder = tokenizerFolder(options);
  if (folder === undefined) {
    throw new UsageError(
      `${options.folder} has no tokenizer.json. Name the folder of the tokenizer: --tokenizer_name_or_path.`,
    );
  }
  return { model, tokenizer: await loadTokenizer(folder, options.chatTemplate, options.terminal) };
}

/** A checkpoint, with the adapters in it if there are any. */
export async function openModel(options: LoadOptions): Promise<CausalLM> {
  const { folder, adapters, dtype, device, lowMemory, terminal } = options;
  requireFolder(folder);
  const onWarning = warningSink(terminal);
  const base = await AutoModelForCausalLM.fromPretrained(folder, {
    dtype,
    device: useDevice(device, terminal),
    lowMemory,
    onWarning,
  });
  base.requiresGrad_(false);
  const [first, ...others] = adapters.folders;
  if (first === undefined) return base;
  const model = await openAdapter(base, first, { onWarning });
  if (others.length === 0 && adapters.weights === undefined) return model;
  if (!(model instanceof PeftModel)) {
    throw new UsageError(`${first} is not a LoRA adapter: it can neither be weighted nor used with others.`);
  }
  for (const [index, other] of others.entries()) {
    await model.loadAdapter(other, { adapterName: `adapter_${index + 2}`, onWarning });
  }
  const names = model.adapterNames;
  if (adapters.weights === undefined) model.setAdapter(names);
  else {
    model.addWeightedAdapter(names, adapters.weights, {
      adapterName: "weighted",
      combinationType: adapters.combination,
    });
    model.setAdapter("weighted");
  }
  return model;
}

/** A model is a folder on this machine: names of the Hugging Face hub are not downloaded. */
export function requireFolder(folder: string): void {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true) return;
  const looksLikeHubName = /^[\w.-]+\/[\w.-]+$/.test(folder) && !folder.startsWith(".");
  const hint = looksLikeHubName
    ? ` Nothing is downloaded: get it first, for example with \`huggingface-cli download ${folder} --local-dir …\`.`
    : "";
  throw new UsageError(`${folder}: there is no such folder.${hint}`);
}

/** Where the tokenizer is: as told, else beside the adapter, else beside the model. */
export function tokenizerFolder(
  options: Pick<LoadOptions, "folder" | "adapters" | "tokenizerNameOrPath">,
): string | undefined {
  const { folder, adapters, tokenizerNameOrPath } = options;
  if (tokenizerNameOrPath !== null) return tokenizerNameOrPath;
  return [...adapters.folders, folder].find((place) => existsSync(join(place, "tokenizer.json")));
}

/**
 * Opens a tokenizer; what it finds odd is printed.
 *
 * @param chatTemplate Jinja source, or a file that holds it, in place of the tokenizer's own; null to keep that
 */
export async function loadTokenizer(
  folder: string,
  chatTemplate: string | null,
  terminal: Terminal,
): Promise<PreTrainedTokenizer> {
  requireFolder(folder);
  const tokenizer = await AutoTokenizer.fromPretrained(folder);
  tokenizer.warnings.forEach(warningSink(terminal));
  if (chatTemplate !== null) {
    const isFile = statSync(chatTemplate, { throwIfNoEntry: false })?.isFile() === true;
    tokenizer.chatTemplate = isFile ? readFileSync(chatTemplate, "utf8") : unescapeTemplate(chatTemplate);
  }
  return tokenizer;
}
