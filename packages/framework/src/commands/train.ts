import { chooseDevice, engineInfo, memoryStats } from "@fms-accel/tensor";
import type { CausalLM } from "@fms-accel/models";
import { formatDuration, SftTrainer, withOutputLock, type TrainOutput } from "@fms-accel/trainer";
import { AccelerationFramework } from "../acceleration-framework.ts";
import type { CommandDefinition, Invocation } from "../cli/command-definition.ts";
import type { FlagGroup } from "../cli/flag-table.ts";
import { printLine, type Terminal } from "../cli/terminal.ts";
import type { PluginDiscovery } from "../plugins/plugin-discovery.ts";
import { renderCurve, wantsLogarithm } from "../terminal/loss-chart.ts";
import { formatCount } from "../terminal/numbers.ts";
import { createInterruption, resumeCommand } from "./interrupt.ts";
import { LossRecorder } from "./loss-recorder.ts";
import { gpuMemory } from "./gpu-memory.ts";
import { estimateMemory } from "./memory-estimate.ts";
import { memoryLines } from "./memory-report.ts";
import { pluginFlagGroups } from "./plugin-flags.ts";
import { sampleOptions } from "./sample-options.ts";
import { readTrainArguments, type TrainArguments } from "./train-arguments.ts";
import { trainFlagGroups } from "./train-flags.ts";
import { createTrainable } from "./train-model.ts";

/** What a shell reports of a program that Ctrl-C ended. */
const EXIT_INTERRUPTED = 130;

/** `train` with the plugins of a project; its flags are theirs too. */
export function createTrainCommand(plugins: PluginDiscovery): CommandDefinition {
  const pluginGroups = pluginFlagGroups(plugins);
  return {
    positionals: [],
    groups: [...trainFlagGroups(), ...pluginGroups],
    examples,
    run: (invocation, terminal) => train(invocation, terminal, plugins, pluginGroups),
  };
}

const examples: readonly string[] = [
  "fms-accel train --model_name_or_path ./SmolLM-135M --training_data_path data.jsonl --output_dir out \\",
  "    --peft_method lora --r 16 --target_modules all-linear --learning_rate 2e-4 --num_train_epochs 1 --bf16",
  "fms-accel train --config run.yaml --learning_rate 1e-4",
];

async function train(
  invocation: Invocation,
  terminal: Terminal,
  plugins: PluginDiscovery,
  pluginGroups: readonly FlagGroup[],
): Promise<number> {
  const args = readTrainArguments(invocation, terminal, pluginGroups);
  const say = (line: string): void => printLine(terminal.notes, line);
  // Before anything large is opened, and until the result is written.
  return withOutputLock(args.outputDir, say, () => trainInto(args, invocation, terminal, plugins));
}

async function trainInto(
  given: TrainArguments,
  invocation: Invocation,
  terminal: Terminal,
  plugins: PluginDiscovery,
): Promise<number> {
  const say = (line: string): void => printLine(terminal.notes, line);
  const framework = await AccelerationFramework.createIfConfigured({ ...given.acceleration, plugins, say });
  const { model, tokenizer, training, slots } = await createTrainable(given, terminal, framework);
  const args = { ...given, training, outputDir: training.outputDir ?? given.outputDir };
  const recorder = new LossRecorder();
  const interruption = createInterruption({
    onRequest: () => announceStop(terminal),
    onInsist: () => process.exit(EXIT_INTERRUPTED),
  });
  const { validationDataPath } = args.data;
  const accelerations = framework?.readyForTrain({ model, args: args.training }) ?? [];
  const trainer = new SftTrainer({
    model,
    tokenizer,
    args: args.training,
    data: { ...sampleOptions(args.data), vocabSize: model.config.vocabSize },
    trainDataset: args.trainingDataPath,
    ...(validationDataPath === null ? {} : { evalDataset: validationDataPath }),
    ...(slots === undefined ? {} : { slots }),
    callbacks: [...accelerations, recorder, { onTrainBegin: () => interruption.listen() }],
    output: terminal.notes,
  });
  describeRun(model, args, terminal);
  await describeMemory(trainer, args, terminal);
  let result: TrainOutput;
  try {
    result = await trainer.train({ signal: interruption.signal });
  } finally {
    interruption.dispose();
  }
  if (result.stopped) return describeStop(result, invocation, args, terminal);
  await trainer.saveModel();
  describeResult(result, recorder, args, terminal);
  return 0;
}

function describeRun(model: CausalLM, { model: choice }: TrainArguments, { notes, noteColors }: Terminal): void {
  let total = 0;
  let trained = 0;
  const dtypes = new Set<string>();
  for (const [, parameter] of model.namedParameters()) {
    total += parameter.numel;
    dtypes.add(parameter.dtype);
    if (parameter.requiresGrad) trained += parameter.numel;
  }
  const { isa, threads } = engineInfo();
  const share = ((100 * trained) / total).toPrecision(3);
  const origin = choice.modelNameOrPath ?? `new, by ${choice.modelConfig}`;
  printLine(
    notes,
    `Model: ${origin} (${model.config.architecture}), ${formatCount(total)} parameters in ${[...dtypes].join(" and ")}, ${formatCount(trained)} of them trained (${share} %).`,
  );
  printLine(
    notes,
    noteColors.dim(
      `Engine: ${isa}, ${threads} thread${threads === 1 ? "" : "s"}. Ctrl-C saves a checkpoint and stops.`,
    ),
  );
}

/** What the run will take, from its longest sample or its fullest batch; said before it begins. */
async function describeMemory(
  trainer: SftTrainer<CausalLM>,
  args: TrainArguments,
  { notes, noteColors }: Terminal,
): Promise<void> {
  await trainer.prepare();
  const longest = trainer.datasetReport("train")?.longest ?? args.training.maxSeqLength;
  const [rows, width] = trainer.largestBatch ?? [args.training.perDeviceTrainBatchSize, longest];
  const gpu = gpuMemory(args.model.device, null);
  const options =
    gpu === undefined
      ? { ownBytes: process.memoryUsage.rss() }
      : { ownBytes: memoryStats(chooseDevice(args.model.device)).liveBytes, machine: gpu };
  const [line = "", ...warnings] = memoryLines(await estimateMemory(args, { rows, width, sample: longest }, options));
  printLine(notes, noteColors.dim(line));
  for (const warning of warnings) printLine(notes, noteColors.yellow(warning));
}

function announceStop({ notes, noteColors }: Terminal): void {
  printLine(
    notes,
    noteColors.yellow("\nStopping after this step, with a checkpoint. Ctrl-C again ends at once, without one."),
  );
}

function describeStop(
  { checkpoint, globalStep }: TrainOutput,
  { words }: Invocation,
  { training }: TrainArguments,
  { notes, noteColors }: Terminal,
): number {
  if (checkpoint === undefined) {
    printLine(notes, "Stopped before the first step: there is nothing to go on from.");
    return EXIT_INTERRUPTED;
  }
  printLine(notes, `Stopped after step ${globalStep}; saved ${checkpoint}.`);
  if (training.saveOnlyModel)
    printLine(notes, "It cannot be resumed from: --save_only_model leaves the optimiser out.");
  else printLine(notes, `Go on with:\n  ${noteColors.bold(resumeCommand(words, checkpoint))}`);
  return EXIT_INTERRUPTED;
}

function describeResult(
  { globalStep, trainingLoss, metrics }: TrainOutput,
  { points }: LossRecorder,
  { model, training, outputDir, peft }: TrainArguments,
  { notes, noteColors }: Terminal,
): void {
  const chart = renderCurve(points, Math.min(notes.columns ?? 80, 100));
  const title = wantsLogarithm(points) ? "loss (logarithmic scale)" : "loss";
  if (chart.length > 0) printLine(notes, `\n${noteColors.bold(title)}\n${noteColors.cyan(chart.join("\n"))}\n`);
  const runtime = Number(metrics["train_runtime"] ?? 0);
  const speed = Number(metrics["train_tokens_per_second"] ?? 0);
  printLine(
    notes,
    `${formatCount(globalStep)} ${globalStep === 1 ? "step" : "steps"} in ${formatDuration(runtime)}, ${formatCount(Math.round(speed))} tokens/s, mean loss ${trainingLoss.toFixed(4)}.`,
  );
  const folder = training.saveModelDir ?? outputDir;
  const isAdapter = peft.peftMethod !== "none" || model.adapter !== null;
  printLine(notes, `Saved the ${isAdapter ? "adapter" : "model"} in ${folder}. Try it:`);
  const use = isAdapter ? `${model.modelNameOrPath ?? "MODEL"} --adapter ${folder}` : folder;
  printLine(notes, `  ${noteColors.bold(`npx fms-accel generate ${use}`)}`);
}
