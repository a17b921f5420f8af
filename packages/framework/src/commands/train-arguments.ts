import {
  describeIgnoredArguments,
  loraArgumentTable,
  parseArguments,
  promptTuningArgumentTable,
  type ParsedArguments,
  type RawArgument,
} from "@fms-accel/trainer";
import type { Invocation } from "../cli/command-definition.ts";
import { readConfigurationFile } from "../cli/configuration-file.ts";
import { spellingsOf, type FlagGroup, type FlagRow } from "../cli/flag-table.ts";
import { printLine, type Terminal } from "../cli/terminal.ts";
import { UsageError } from "../errors.ts";
import { splitAcceleration, type AccelerationArguments } from "./plugin-flags.ts";
import { trainFlagGroups } from "./train-flags.ts";

/** The arguments of a run, checked as a whole. */
export interface TrainArguments extends ParsedArguments {
  readonly outputDir: string;
  readonly trainingDataPath: string;
  readonly acceleration: AccelerationArguments;
}

/**
 * Reads `--config`, then the flags, which win over it, and checks that together they describe a run. What was given without effect is
 * printed.
 *
 * @param pluginGroups the flags of plugins
 *
 * @throws UsageError, ConfigurationError, ArgumentError
 */
export function readTrainArguments(
  { flags }: Invocation,
  terminal: Terminal,
  pluginGroups: readonly FlagGroup[] = [],
): TrainArguments {
  const file = flags.find(({ name }) => name === "config")?.value;
  const own = flags.filter(({ name }) => name !== "config");
  const known = namesOf([...trainFlagGroups(), ...pluginGroups]);
  const given = [...(typeof file === "string" ? readConfigurationFile(file, known) : []), ...own];
  const { acceleration, rest: raw } = splitAcceleration(given, pluginGroups);
  const parsed = parseArguments(raw);
  checkModelChoice(parsed);
  checkAdapterArguments(parsed, raw);
  const outputDir = required(
    parsed.training.outputDir,
    "output_dir",
    "the folder for checkpoints and the trained model",
  );
  const trainingDataPath = required(parsed.data.trainingDataPath, "training_data_path", "a file or folder of samples");
  const { notes, noteColors } = terminal;
  const remarks = [...parsed.notes, ...unusedEvaluation(parsed)];
  const ignored = describeIgnoredArguments(parsed.ignored);
  for (const remark of ignored === undefined ? remarks : [ignored, ...remarks])
    printLine(notes, noteColors.yellow(remark));
  return { ...parsed, outputDir, trainingDataPath, acceleration };
}

/** Every key that may stand in a configuration file. */
function namesOf(groups: readonly FlagGroup[]): Set<string> {
  return new Set(groups.flatMap(({ rows }) => rows.flatMap(spellingsOf)).filter((name) => name !== "config"));
}

function required(value: string | null, name: string, meaning: string): string {
  if (value === null || value === "") throw new UsageError(`--${name} is missing: ${meaning}.`);
  return value;
}

function checkModelChoice({ model }: ParsedArguments): void {
  if (model.modelNameOrPath === null && model.modelConfig === null) {
    throw new UsageError(
      "no model is given: --model_name_or_path FOLDER, or --model_config config.json for a new one.",
    );
  }
  if (model.modelNameOrPath !== null && model.modelConfig !== null) {
    throw new UsageError("--model_name_or_path and --model_config exclude each other: a checkpoint, or a new model.");
  }
}

/** Arguments of an adapter that would be passed over without a word are refused. */
function checkAdapterArguments({ model, peft }: ParsedArguments, raw: readonly RawArgument[]): void {
  const given = (table: readonly FlagRow[]): readonly string[] => {
    const names = new Set(table.flatMap(spellingsOf));
    return raw.filter(({ name, value }) => names.has(name) && value !== null).map(({ where }) => where);
  };
  const flags = { lora: given(loraArgumentTable), pt: given(promptTuningArgumentTable) };
  const all = [...flags.lora, ...flags.pt];
  if (model.adapter !== null && all.length > 0) {
    throw new UsageError(`${all.join(", ")}: no effect with --adapter, whose own settings hold. Leave it out.`);
  }
  for (const method of ["lora", "pt"] as const) {
    const unused = flags[method];
    if (unused.length === 0 || peft.peftMethod === method) continue;
    throw new UsageError(
      `${unused.join(", ")}: no effect without --peft_method ${method}. ` +
        (peft.peftMethod === "none" ? "Add it, or leave this out to train all weights." : "Leave this out."),
    );
  }
}

function unusedEvaluation({ data, training }: ParsedArguments): string[] {
  if (data.validationDataPath === null || training.evalStrategy !== "no" || training.evalOnStart) return [];
  return ["validation_data_path is given, but eval_strategy is no: there will be no evaluation."];
}
