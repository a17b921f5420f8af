import {
  adapterChoice,
  adapterTable,
  loadForUse,
  modelFolder,
  printLine,
  readInvocation,
  sampleOptions,
  selectRows,
  UsageError,
  type CommandDefinition,
  type Terminal,
} from "@fms-accel/framework";
import { argumentTables, loadDataset, permutation, preprocessDataset } from "@fms-accel/trainer";
import { comparePacking, type PackingLoss } from "./compare-packing.ts";

const comparisonTable = [
  {
    name: "dataset",
    type: "strings",
    default: null,
    help: "Files or folders of samples: json, jsonl, parquet or arrow.",
  },
  {
    name: "samples",
    type: "integer",
    default: 100,
    minimum: 1,
    help: "How many samples to compare, drawn by the seed.",
  },
  {
    name: "pack_length",
    type: "integer",
    default: null,
    minimum: 1,
    help: "Tokens of a packed row; at least the longest sample. Default: max_seq_length, or as many as all samples have if that is less.",
  },
  {
    name: "torch_dtype",
    type: "string",
    default: "float32",
    choices: ["auto", "float32", "bfloat16", "float16"],
    aliases: ["dtype"],
    help: "Data type of the weights; auto: as they are stored.",
  },
  {
    name: "tolerance",
    type: "number",
    default: null,
    above: 0,
    help: "Largest relative difference of the losses that passes. Default: 1e-6 for float32, 1e-2 for others.",
  },
  { name: "json", type: "boolean", default: false, help: "Print one JSON object." },
] as const;

const ownTable = [...comparisonTable, ...adapterTable] as const;

export const assertPackingCommand: CommandDefinition = {
  positionals: [["[model]", "folder of a Hugging Face checkpoint"]],
  groups: [
    { heading: "Comparison", rows: comparisonTable },
    {
      heading: "Model",
      rows: [
        ...selectRows(argumentTables.model, ["model_name_or_path", "tokenizer_name_or_path", "device"]),
        ...adapterTable,
      ],
    },
    {
      heading: "Data",
      rows: [
        ...argumentTables.data.filter(({ name }) => !/_data_path$|^add_special_tokens$/.test(name)),
        ...selectRows(argumentTables.training, ["max_seq_length", "per_device_eval_batch_size", "seed"]),
      ],
    },
  ],
  examples: ["fms-accel assert-packing ./SmolLM-135M --dataset alpaca.jsonl --pack_length 4096"],

  async run(invocation, terminal): Promise<number> {
    const { own, shared } = readInvocation(ownTable, invocation);
    const { model: choice, data, training } = shared;
    if (own.dataset === null) throw new UsageError("--dataset is missing: files or folders of samples.");
    const folder = modelFolder(invocation, choice.modelNameOrPath);
    const { model, tokenizer } = await loadForUse({
      ...choice,
      folder,
      adapters: adapterChoice(own),
      dtype: own.torchDtype,
      chatTemplate: data.chatTemplate,
      terminal,
    });
    using tokenized = await preprocessDataset(await loadDataset(own.dataset), tokenizer, {
      ...sampleOptions(data),
      maxSeqLength: training.maxSeqLength,
      vocabSize: model.config.vocabSize,
    });
    for (const line of tokenized.report.lines()) printLine(terminal.notes, terminal.noteColors.dim(line));
    const chosen = permutation(tokenized.length, training.seed, 0).subarray(0, own.samples);
    const samples = Array.from(chosen, (index) => tokenized.sample(index));
    const longest = samples.reduce((length, { inputIds }) => Math.max(length, inputIds.length), 0);
    const { original, packed } = await comparePacking(model, samples, {
      packLength:
        own.packLength ??
        Math.max(longest, Math.min(training.maxSeqLength, sum(samples.map(({ inputIds }) => inputIds.length)))),
      batchSize: training.perDeviceEvalBatchSize,
      padTokenId: tokenizer.padTokenId ?? 0,
      device: choice.device,
    });
    const isFloat32 = [...model.namedParameters()].every(([, parameter]) => parameter.dtype === "float32");
    const tolerance = own.tolerance ?? (isFloat32 ? 1e-6 : 1e-2);
    const verdicts = packed.map((one) => ({
      ...one,
      difference: Math.abs(one.loss - original.loss) / original.loss,
      passes: one.lossTokens === original.lossTokens && Math.abs(one.loss - original.loss) <= tolerance * original.loss,
    }));
    const passes = verdicts.every((one) => one.passes);
    if (own.json)
      printLine(
        terminal.output,
        JSON.stringify({ samples: samples.length, tolerance, passes, original, packed: verdicts }),
      );
    else report(samples.length, original, verdicts, tolerance, terminal);
    return passes ? 0 : 1;
  },
};

interface Verdict extends PackingLoss {
  readonly difference: number;
  readonly passes: boolean;
}

function report(
  samples: number,
  original: PackingLoss,
  packed: readonly Verdict[],
  tolerance: number,
  terminal: Terminal,
): void {
  const { output, colors } = terminal;
  printLine(output, `${samples} samples: ${original.rows} padded rows, ${packed[0]?.rows} packed rows`);
  for (const one of [original, ...packed]) {
    printLine(output, `average loss over tokens from (${one.name}): ${one.loss.toFixed(8)}`);
  }
  for (const one of [original, ...packed]) {
    printLine(output, `number of tokens used for computing loss from (${one.name}): ${one.lossTokens}`);
  }
  for (const one of packed) {
    const percentage = `${(100 * one.difference).toFixed(6)}%`;
    const line = `difference between loss from (${original.name}) and (${one.name}): ${percentage}`;
    printLine(output, one.passes ? colors.green(line) : colors.red(line));
  }
  const passes = packed.every((one) => one.passes);
  printLine(
    output,
    passes
      ? colors.bold(colors.green("The packed losses are those of the original dataset."))
      : colors.bold(colors.red(`They differ: the loss by more than ${tolerance}, or the number of tokens.`)),
  );
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}
