import {
  loadTokenizer,
  noAdapter,
  modelFolder,
  printLine,
  readInvocation,
  sampleOptions,
  selectRows,
  tokenizerFolder,
  UsageError,
  type CommandDefinition,
  type Terminal,
} from "@fms-accel/framework";
import { argumentTables, BatchPlan, loadDataset, preprocessDataset, RandomSampler } from "@fms-accel/trainer";
import { grouped, percent } from "../packing/counting.ts";
import { describeLongSamples, FittedSamples } from "../packing/fitted-samples.ts";
import { MultipackBatchSampler } from "../packing/multipack-sampler.ts";
import { describePacking, describePadding, paddedCost } from "../packing/packing-cost.ts";
import { runAtOnce } from "../packing/sliced.ts";
import { attentionPicture } from "../preview/attention-picture.ts";
import { drawBatch, drawScale, letterOf } from "../preview/batch-drawing.ts";
import { writePicture } from "../preview/write-picture.ts";

const ownTable = [
  { name: "packing", type: "boolean", default: false, help: "Show how samples are packed into batches." },
  { name: "data", type: "strings", default: null, help: "Files or folders of samples; also --training_data_path." },
  { name: "batches", type: "integer", default: 1, minimum: 1, help: "How many batches to show." },
  {
    name: "packing_capacity",
    type: "integer",
    default: null,
    minimum: 1,
    help: "Tokens of a packed batch on one rank; default: per_device_train_batch_size × mean length.",
  },
  {
    name: "packing_rows",
    type: "integer",
    default: 1,
    minimum: 1,
    help: "Rows of a packed batch that each hold several samples, with an equal share of the capacity.",
  },
  { name: "ranks", type: "integer", default: 1, minimum: 1, help: "Ranks to pack for; those of rank 0 are shown." },
  {
    name: "picture",
    type: "string",
    default: null,
    help: "A file for a picture of the attention of the first row: .svg or .png.",
  },
] as const;

/** Characters of a line, at most. */
const MOST_COLUMNS = 48;
/** Characters of a batch, about. */
const CELLS = 64;

export const previewPackingCommand: CommandDefinition = {
  positionals: [["[model]", "folder of a Hugging Face checkpoint; only its tokenizer is read"]],
  groups: [
    { heading: "Packing", rows: ownTable },
    { heading: "Model", rows: selectRows(argumentTables.model, ["model_name_or_path", "tokenizer_name_or_path"]) },
    {
      heading: "Data",
      rows: [
        ...argumentTables.data.filter(({ name }) => !/^validation_data_path$|^add_special_tokens$/.test(name)),
        ...selectRows(argumentTables.training, ["max_seq_length", "per_device_train_batch_size", "seed"]),
      ],
    },
  ],
  examples: [
    "fms-accel preview ./SmolLM-135M --packing --data data.jsonl --packing_capacity 4096 --picture attention.svg",
  ],

  async run(invocation, terminal): Promise<number> {
    const { own, shared } = readInvocation(ownTable, invocation);
    const { model: choice, data, training } = shared;
    const paths = own.data ?? (data.trainingDataPath === null ? null : [data.trainingDataPath]);
    if (paths === null) throw new UsageError("--data is missing: files or folders of samples.");
    const folder = choice.tokenizerNameOrPath ?? modelFolder(invocation, choice.modelNameOrPath);
    const place = tokenizerFolder({ ...choice, folder, adapters: noAdapter });
    const tokenizer = place === undefined ? undefined : await loadTokenizer(place, data.chatTemplate, terminal);
    using samples = await preprocessDataset(await loadDataset(paths), tokenizer, {
      ...sampleOptions(data),
      maxSeqLength: training.maxSeqLength,
    });
    const { lengths } = samples;
    const batchSize = training.perDeviceTrainBatchSize;
    const mean = lengths.reduce((a, b) => a + b, 0) / lengths.length;
    const capacity = own.packingCapacity ?? Math.max(1, Math.floor(batchSize * mean));
    const rows = own.packingRows;
    const rowCapacity = Math.max(1, Math.floor(capacity / rows));
    const fitted = new FittedSamples(samples, lengths, rowCapacity, data.longSamples ?? "error");
    const position = { rank: 0, worldSize: own.ranks };
    const seed = training.dataSeed ?? training.seed;
    const packed = new MultipackBatchSampler(fitted.lengths, { capacity, rows, measure: "tokens", position, seed });
    const padded = new BatchPlan(new RandomSampler(fitted.length, seed), { batchSize, position });

    const { output, notes, noteColors, colors } = terminal;
    const scale = Math.max(1, Math.ceil(capacity / CELLS));
    const columns = Math.max(8, Math.min(CELLS / 4, MOST_COLUMNS, Math.floor(((output.columns ?? 80) - 8) / 2)));
    printLine(output, colors.dim(`each character is ${scale} token${scale === 1 ? "" : "s"}; X is padding\n`));
    for (let index = 0; index < Math.min(own.batches, packed.batchCount(0)); index++) {
      const first = packed.batch(0, index);
      showPadded(first, fitted.lengths, { batchSize, scale, columns }, terminal);
      const drawn = { rowCapacity, scale, columns, index };
      showPacked(packed.batchRows(0, index), fitted.lengths, drawn, terminal);
    }
    const before = runAtOnce(paddedCost(padded, fitted.lengths));
    const statistics = packed.statistics(0);
    printLine(
      output,
      `before: batches of ${batchSize}, ${describePadding(before)}, ${percent(before.tokens / before.positions)} efficient`,
    );
    printLine(output, `after:  ${describePadding(statistics)}; ${describePacking(statistics, position)}`);
    const long = describeLongSamples(fitted.report);
    if (long !== undefined) printLine(notes, noteColors.yellow(long));
    for (const line of samples.report.lines()) printLine(notes, noteColors.dim(line));
    if (own.picture !== null) {
      await writePicture(
        own.picture,
        attentionPicture(Array.from(packed.batchRows(0, 0)[0]!, (sample) => fitted.lengths[sample]!)),
      );
      printLine(notes, `Wrote ${own.picture}.`);
    }
    return 0;
  },
};

interface Scale {
  readonly scale: number;
  readonly columns: number;
}

/** The samples of a packed batch as padded batches would hold them. */
function showPadded(
  batch: Int32Array,
  lengths: Int32Array,
  { batchSize, scale }: Scale & { readonly batchSize: number },
  { output, colors }: Terminal,
): void {
  printLine(output, colors.bold(`padded, batches of ${batchSize}`));
  const rows = Array.from(batch, (sample, index) => [{ letter: letterOf(index), tokens: lengths[sample]! }]);
  const widest = Math.max(...rows.map(([row]) => Math.ceil(row!.tokens / scale)));
  printLine(output, drawScale(widest, colors));
  for (let start = 0; start < rows.length; start += batchSize) {
    const lines = drawBatch(rows.slice(start, start + batchSize), { scale, columns: widest, colors });
    printLine(output, lines.join("\n"));
  }
}

function showPacked(
  batch: readonly Int32Array[],
  lengths: Int32Array,
  { rowCapacity, scale, columns, index }: Scale & { readonly rowCapacity: number; readonly index: number },
  { output, colors }: Terminal,
): void {
  let letters = 0;
  const rows = batch.map((list) =>
    Array.from(list, (sample) => ({ letter: letterOf(letters++), tokens: lengths[sample]! })),
  );
  const shape = rows.length === 1 ? "" : ` in ${rows.length} rows`;
  const room = grouped(rowCapacity * rows.length);
  printLine(output, colors.bold(`packed, batch ${index}: ${letters} samples${shape}, up to ${room} tokens`));
  const cells = Math.min(columns, Math.ceil(rowCapacity / scale));
  printLine(output, drawScale(cells, colors));
  printLine(output, drawBatch(rows, { scale, columns: cells, colors }, rowCapacity).join("\n"));
  let end = 0;
  const cuSeqlens = [0, ...rows.flat().map(({ tokens }) => (end += tokens))];
  printLine(output, `cu_seqlens: ${cuSeqlens.join(", ")}\n`);
}
