import { closeSync, openSync, writeSync } from "node:fs";
import {
  argumentTables,
  BatchPlan,
  collate,
  evaluateLoss,
  formatDuration,
  formatNumber,
  loadDataset,
  modelDevice,
  preprocessDataset,
  SampleLoader,
  SequentialSampler,
  type BatchEvaluation,
  type Dataset,
  type DataLoader,
  type EvaluationResult,
  type TokenizedDataset,
} from "@fms-accel/trainer";
import type { CommandDefinition } from "../cli/command-definition.ts";
import { selectRows } from "../cli/flag-table.ts";
import { printLine, type Terminal } from "../cli/terminal.ts";
import { UsageError } from "../errors.ts";
import { formatCount } from "../terminal/numbers.ts";
import { adapterChoice, adapterTable } from "./adapter-flags.ts";
import { modelFolder, readInvocation } from "./invocation-values.ts";
import { dtypeRow, loadForUse, modelRows } from "./load-for-use.ts";
import { sampleOptions } from "./sample-options.ts";

const dataTable = [
  { name: "data", type: "strings", default: null, help: "Files or folders of samples: json, jsonl, parquet or arrow." },
  { name: "json", type: "boolean", default: false, help: "Print one JSON object." },
  {
    name: "per_sample",
    type: "string",
    default: null,
    help: "A file for one JSON object a sample and line; evaluates one at a time.",
  },
] as const;

const ownTable = [...dataTable, dtypeRow, ...adapterTable] as const;

export const evaluateCommand: CommandDefinition = {
  positionals: [["[model]", "folder of a Hugging Face checkpoint"]],
  groups: [
    {
      heading: "Model",
      rows: [
        ...modelRows,
        ...selectRows(argumentTables.model, ["device"]),
        ...selectRows(argumentTables.training, ["bf16", "fp16"]),
      ],
    },
    {
      heading: "Data",
      rows: [
        ...dataTable,
        ...argumentTables.data.filter(({ name }) => !/_data_path$|^add_special_tokens$/.test(name)),
        ...selectRows(argumentTables.training, ["max_seq_length", "per_device_eval_batch_size"]),
      ],
    },
  ],
  examples: [
    "fms-accel evaluate ./SmolLM-135M --data held.jsonl",
    "fms-accel evaluate ./SmolLM-135M --adapter out --data held.jsonl --json --per_sample samples.jsonl",
  ],

  async run(invocation, terminal): Promise<number> {
    const { own, shared } = readInvocation(ownTable, invocation);
    const { model: choice, data, training } = shared;
    if (own.data === null) throw new UsageError("--data is missing: files or folders of samples.");
    const folder = modelFolder(invocation, choice.modelNameOrPath);
    const adapters = adapterChoice(own);
    const loaded = await loadForUse({
      ...choice,
      adapters,
      folder,
      dtype: own.torchDtype,
      chatTemplate: data.chatTemplate,
      terminal,
    });
    const dataset = await loadDataset(own.data);
    using samples = await preprocessDataset(dataset, loaded.tokenizer, {
      ...sampleOptions(data),
      maxSeqLength: training.maxSeqLength,
      vocabSize: loaded.model.config.vocabSize,
    });
    for (const line of samples.report.lines()) printLine(terminal.notes, terminal.noteColors.dim(line));
    const batchSize = own.perSample === null ? training.perDeviceEvalBatchSize : 1;
    const loader = batchesOf(samples, batchSize, loaded.tokenizer.padTokenId ?? 0);
    using log = own.perSample === null ? undefined : new SampleLog(own.perSample, dataset, samples);
    const progress = new Progress(loader.batchCount(0), terminal);
    const result = await evaluateLoss(loaded.model, loader, {
      device: modelDevice(loaded.model),
      ...(training.bf16
        ? { autocastDtype: "bfloat16" as const }
        : training.fp16
          ? { autocastDtype: "float16" as const }
          : {}),
      onBatch: (batch) => {
        progress.show(batch.index + 1);
        log?.write(batch);
      },
    });
    progress.clear();
    if (own.json) printLine(terminal.output, JSON.stringify(resultAsJson(result, folder, adapters.folders)));
    else printResult(result, terminal);
    return 0;
  },
};

function batchesOf(samples: TokenizedDataset, batchSize: number, padTokenId: number): DataLoader {
  const plan = new BatchPlan(new SequentialSampler(samples.length), { batchSize });
  const sampler = {
    batchCount: () => plan.microBatchesPerEpoch,
    batch: (_epoch: number, index: number) => plan.step(index).microBatches[0] ?? [],
  };
  return new SampleLoader(samples, sampler, (rows) => collate(rows, { padTokenId }));
}

/** Writes what every sample's loss is, and where it comes from. */
class SampleLog implements Disposable {
  readonly #file: number;
  readonly #dataset: Dataset;
  readonly #samples: TokenizedDataset;

  constructor(path: string, dataset: Dataset, samples: TokenizedDataset) {
    this.#file = openSync(path, "w");
    this.#dataset = dataset;
    this.#samples = samples;
  }

  write({ index, loss, trainableTokens, batch }: BatchEvaluation): void {
    const row = this.#samples.sourceRow(index);
    const measured = trainableTokens === 0 ? { loss: null, perplexity: null } : { loss, perplexity: Math.exp(loss) };
    const entry = {
      row,
      ...this.#dataset.origin(row),
      ...measured,
      tokens: batch.tokens,
      trainable_tokens: trainableTokens,
    };
    writeSync(this.#file, `${JSON.stringify(entry)}\n`);
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }
}

/** A line of progress, on a terminal only. */
class Progress {
  readonly #total: number;
  readonly #terminal: Terminal;

  constructor(total: number, terminal: Terminal) {
    this.#total = total;
    this.#terminal = terminal;
  }

  show(done: number): void {
    if (this.#terminal.notes.isTTY === true) this.#terminal.notes.write(`\r\u001B[K${done} of ${this.#total} batches`);
  }

  clear(): void {
    if (this.#terminal.notes.isTTY === true) this.#terminal.notes.write("\r\u001B[K");
  }
}

function resultAsJson(result: EvaluationResult, model: string, adapters: readonly string[]): Record<string, unknown> {
  return {
    model,
    adapter: adapters.length > 1 ? adapters : (adapters[0] ?? null),
    loss: result.loss,
    perplexity: result.perplexity,
    trainable_tokens: result.trainableTokens,
    tokens: result.inputTokens,
    samples: result.samples,
    batches_without_trainable_tokens: result.batchesWithoutTrainableTokens,
    seconds: result.seconds,
    tokens_per_second: result.inputTokens / result.seconds,
  };
}

function printResult(result: EvaluationResult, { output, colors }: Terminal): void {
  const { loss, perplexity, trainableTokens, inputTokens, samples, seconds } = result;
  const duration = seconds < 10 ? `${formatNumber(seconds)}s` : formatDuration(seconds);
  printLine(output, `${colors.bold("loss")}        ${loss.toFixed(6)}`);
  printLine(output, `${colors.bold("perplexity")}  ${perplexity.toPrecision(6)}`);
  printLine(
    output,
    `${colors.bold("tokens")}      ${formatCount(trainableTokens)} trained of ${formatCount(inputTokens)}, in ${formatCount(samples)} samples`,
  );
  printLine(output, colors.dim(`${duration}, ${formatNumber(inputTokens / seconds)} tokens/s`));
}
