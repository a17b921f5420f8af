import {
  argumentTables,
  IGNORE_INDEX,
  loadDataset,
  preprocessDataset,
  type Dataset,
  type TokenizedDataset,
} from "@fms-accel/trainer";
import type { PreTrainedTokenizer } from "@fms-accel/models";
import type { CommandDefinition } from "../cli/command-definition.ts";
import { selectRows } from "../cli/flag-table.ts";
import { printLine } from "../cli/terminal.ts";
import { UsageError } from "../errors.ts";
import { groupSpans, renderSample, type SampleView } from "../terminal/sample-view.ts";
import { modelFolder, readInvocation } from "./invocation-values.ts";
import { noAdapter } from "./adapter-flags.ts";
import { loadTokenizer, tokenizerFolder } from "./load-for-use.ts";
import { sampleOptions } from "./sample-options.ts";

const ownTable = [
  { name: "data", type: "strings", default: null, help: "Files or folders of samples; also --training_data_path." },
  { name: "samples", type: "integer", default: 3, minimum: 1, help: "How many samples to show." },
  { name: "json", type: "boolean", default: false, help: "Print one JSON object a sample and line." },
] as const;

export const previewCommand: CommandDefinition = {
  positionals: [["[model]", "folder of a Hugging Face checkpoint; only its tokenizer is read"]],
  groups: [
    { heading: "Samples", rows: ownTable },
    { heading: "Model", rows: selectRows(argumentTables.model, ["model_name_or_path", "tokenizer_name_or_path"]) },
    {
      heading: "Data",
      rows: [
        ...argumentTables.data.filter(({ name }) => !/^validation_data_path$|^add_special_tokens$/.test(name)),
        ...selectRows(argumentTables.training, ["max_seq_length"]),
      ],
    },
  ],
  examples: ["fms-accel preview ./SmolLM-135M --data data.jsonl --samples 2"],

  async run(invocation, terminal): Promise<number> {
    const { own, shared } = readInvocation(ownTable, invocation);
    const { model: choice, data, training } = shared;
    const paths = own.data ?? (data.trainingDataPath === null ? null : [data.trainingDataPath]);
    if (paths === null) throw new UsageError("--data is missing: files or folders of samples.");
    const folder = choice.tokenizerNameOrPath ?? modelFolder(invocation, choice.modelNameOrPath);
    const place = tokenizerFolder({ ...choice, folder, adapters: noAdapter });
    if (place === undefined)
      throw new UsageError(`${folder} has no tokenizer.json. Name its folder: --tokenizer_name_or_path.`);
    const tokenizer = await loadTokenizer(place, data.chatTemplate, terminal);
    const dataset = await loadDataset(paths);
    using samples = await preprocessDataset(dataset, tokenizer, {
      ...sampleOptions(data),
      maxSeqLength: training.maxSeqLength,
    });
    const { output, notes, colors, noteColors } = terminal;
    for (let index = 0; index < Math.min(own.samples, samples.length); index++) {
      const view = viewOf(index, samples, dataset, tokenizer);
      if (own.json) printLine(output, JSON.stringify(viewAsJson(view, samples.format.kind)));
      else printLine(output, `${renderSample(view, colors).join("\n")}\n`);
    }
    const legend = colors.isColorSupported ? `${colors.green("trained")} ${colors.dim("masked")}` : "«trained» masked";
    if (!own.json) printLine(output, `${legend}   format: ${samples.format.kind}`);
    for (const line of samples.report.lines()) printLine(notes, noteColors.dim(line));
    return 0;
  },
};

function viewOf(
  index: number,
  samples: TokenizedDataset,
  dataset: Dataset,
  tokenizer: PreTrainedTokenizer,
): SampleView {
  const { inputIds, labels } = samples.sample(index);
  const decode = (ids: readonly number[]): string => tokenizer.decode(ids, { skipSpecialTokens: false });
  const tokens = Array.from(inputIds, (id, at) => ({
    id,
    text: decode([id]),
    // The first label is never a target: nothing predicts the first token.
    trained: at > 0 && labels[at] !== IGNORE_INDEX,
  }));
  const { file, line, row } = dataset.origin(samples.sourceRow(index));
  const place = line === undefined ? `row ${row ?? index}` : `line ${line}`;
  return { index, origin: `${file ?? "data"}, ${place}`, tokens, spans: groupSpans(tokens, decode) };
}

function viewAsJson({ index, origin, tokens, spans }: SampleView, format: string): Record<string, unknown> {
  return {
    index,
    origin,
    format,
    text: spans.map(({ text }) => text).join(""),
    spans,
    input_ids: tokens.map(({ id }) => id),
    tokens: tokens.map(({ text }) => text),
    trained: tokens.map(({ trained }) => (trained ? 1 : 0)),
  };
}
