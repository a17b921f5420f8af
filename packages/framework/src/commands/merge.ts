import { existsSync, readdirSync } from "node:fs";
import { resolve } from "node:path";
import { type CausalLM, PeftModel, PromptTuningModel, savePretrained } from "@fms-accel/models";
import { argumentTables } from "@fms-accel/trainer";
import type { CommandDefinition } from "../cli/command-definition.ts";
import { selectRows } from "../cli/flag-table.ts";
import { printLine } from "../cli/terminal.ts";
import { UsageError } from "../errors.ts";
import { adapterChoice, adapterTable } from "./adapter-flags.ts";
import { modelFolder, readInvocation } from "./invocation-values.ts";
import { dtypeRow, loadTokenizer, modelRows, openModel, tokenizerFolder } from "./load-for-use.ts";

const outputTable = [
  { name: "output_dir", type: "string", default: null, help: "Folder of the merged checkpoint; must be new or empty." },
  { name: "max_shard_size", type: "string", default: "5GB", help: "Largest size of a weight file." },
] as const;

const ownTable = [...outputTable, dtypeRow, ...adapterTable] as const;

export const mergeCommand: CommandDefinition = {
  positionals: [["[model]", "folder of a Hugging Face checkpoint"]],
  groups: [
    {
      heading: "Model",
      rows: [...modelRows, ...selectRows(argumentTables.model, ["low_memory"])],
    },
    { heading: "Output", rows: outputTable },
  ],
  examples: [
    "fms-accel merge ./SmolLM-135M --adapter out --output_dir merged",
    "fms-accel merge ./model --torch_dtype bfloat16 --output_dir smaller      (no adapter: only the data type changes)",
  ],

  async run(invocation, terminal): Promise<number> {
    const { own, shared } = readInvocation(ownTable, invocation);
    const folder = modelFolder(invocation, shared.model.modelNameOrPath);
    const adapters = adapterChoice(own);
    const none = adapters.folders.length === 0;
    if (own.outputDir === null) throw new UsageError("--output_dir is missing: the folder of the merged checkpoint.");
    if (none && own.torchDtype === "auto") {
      throw new UsageError("there is nothing to do: give --adapter, or a --torch_dtype to convert to.");
    }
    checkTarget(own.outputDir, [folder, ...adapters.folders]);
    const options = { ...shared.model, adapters, folder, dtype: own.torchDtype, chatTemplate: null, terminal };
    const opened = await openModel(options);
    if (opened instanceof PromptTuningModel) {
      throw new UsageError(
        `${adapters.folders[0]} is of prompt tuning: its vectors are no part of any weight. Use it with --adapter.`,
      );
    }
    const files = saveMerged(opened, own.outputDir, { ...own, ...shared.model });
    const place = tokenizerFolder(options);
    if (place === undefined) printLine(terminal.notes, terminal.noteColors.yellow("There is no tokenizer to copy."));
    else await (await loadTokenizer(place, null, terminal)).savePretrained(own.outputDir);
    const what = none ? `Converted ${folder}` : `Merged ${adapters.folders.join(" and ")} into ${folder}`;
    printLine(terminal.notes, `${what}: ${files.join(", ")} in ${own.outputDir}.`);
    return 0;
  },
};

function saveMerged(
  model: CausalLM,
  directory: string,
  { maxShardSize, lowMemory }: { readonly maxShardSize: string; readonly lowMemory: boolean },
): string[] {
  if (!(model instanceof PeftModel)) return savePretrained(model, directory, { maxShardSize });
  if (lowMemory) return model.saveMerged(directory, { maxShardSize });
  return savePretrained(model.mergeAndUnload(), directory, { maxShardSize });
}

/** Nothing is overwritten: the source may be mapped into memory while the target is written. */
function checkTarget(target: string, sources: readonly string[]): void {
  if (sources.some((source) => resolve(source) === resolve(target))) {
    throw new UsageError(`--output_dir ${target} is a folder that is read from. Name another one.`);
  }
  if (existsSync(target) && readdirSync(target).length > 0) {
    throw new UsageError(`--output_dir ${target} is not empty. Name a new folder.`);
  }
}
