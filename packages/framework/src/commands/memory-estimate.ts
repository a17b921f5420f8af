import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import {
  AutoConfig,
  AutoModelForCausalLM,
  Checkpoint,
  rowsPerChunk,
  type CausalLM,
  type CausalLMConfig,
} from "@fms-accel/models";
import type { DType } from "@fms-accel/tensor";
import {
  measureTrainingMemory,
  type ParsedArguments,
  type TrainingMemory,
  type TrainingShape,
} from "@fms-accel/trainer";
import { UsageError } from "../errors.ts";
import { machineMemory, type MachineMemory } from "./machine-memory.ts";
import { plannedAdapter, withAdapter } from "./train-model.ts";

/** One way to train, and what it takes. */
export interface MemoryVariant extends TrainingMemory {
  readonly gradientCheckpointing: boolean;
  /** Tensors at the peak, what the engine keeps beside them, weights in the mapped file, and the process, or CUDA, without any of it. */
  readonly resident: number;
  /** Whether `resident` fits into what the machine has left. */
  readonly fits: boolean;
}

/** What a run would take; sizes in bytes. */
export interface MemoryEstimate {
  readonly model: string;
  readonly architecture: string;
  readonly method: string;
  readonly dtype: string;
  readonly autocast: "bfloat16" | "float16" | null;
  readonly shape: TrainingShape;
  /** Frozen weights that stay in the mapped checkpoint: part of `weights`, not of `peak`. */
  readonly mappedWeights: number;
  /** `full`: of a micro-batch, if they were held at once. `held`: a chunk of them, in whose place its gradient comes. */
  readonly logits: { readonly full: number; readonly held: number };
  readonly machine: MachineMemory;
  /** As the arguments say, and the other way: with and without gradient checkpointing. */
  readonly chosen: MemoryVariant;
  readonly other: MemoryVariant;
}

/** A process that trains a model of no size: Node.js, the code, the tokenizer, the workspaces of the kernels. */
const PROCESS_BYTES = 150e6;
/** What CUDA itself takes of a GPU: the context, the code of the kernels, and the scratch of products and attention. */
const CONTEXT_BYTES = 700e6;

/**
 * Estimates a run from its arguments and the model's config.json: both with gradient checkpointing and without.
 *
 * @param shape of a micro-batch
 * @param ownBytes what the run has in memory already: that much less must be free
 */
export async function estimateMemory(
  args: ParsedArguments,
  shape: TrainingShape,
  { ownBytes = 0, machine = machineMemory() }: { ownBytes?: number; machine?: MachineMemory } = {},
): Promise<MemoryEstimate> {
  const { model: choice, training, peft } = args;
  const place = choice.modelConfig ?? choice.modelNameOrPath ?? "";
  if (!existsSync(place))
    throw new UsageError(`${place}: no such file or folder. Give a model's folder or its config.json.`);
  const config = await AutoConfig.fromPretrained(place, { onWarning: () => {} });
  const stored = storedDType(place);
  const dtype = choice.torchDtype === "auto" ? (config.dtype ?? stored ?? "float32") : choice.torchDtype;
  const makeModel = async (): Promise<CausalLM> =>
    withAdapter(
      AutoModelForCausalLM.fromConfig(config, { dtype, onWarning: () => {} }),
      withoutTexts(args),
      plannedAdapter(args),
      () => {},
    );
  const measure = (gradientCheckpointing: boolean): Promise<TrainingMemory> =>
    measureTrainingMemory(makeModel, { ...training, gradientCheckpointing }, shape);
  const [chosen, other] = [
    await measure(training.gradientCheckpointing),
    await measure(!training.gradientCheckpointing),
  ];
  // A GPU holds every weight; the CPU leaves frozen ones in the file.
  const mappedWeights = stored === dtype && machine.gpu === undefined ? chosen.frozenWeights : 0;
  const overhead = machine.gpu === undefined ? PROCESS_BYTES : CONTEXT_BYTES;
  const variant = (memory: TrainingMemory, gradientCheckpointing: boolean): MemoryVariant => {
    const peak = memory.peak - mappedWeights;
    const resident = peak + memory.cached + mappedWeights + overhead;
    return { ...memory, peak, gradientCheckpointing, resident, fits: resident - ownBytes <= machine.availableBytes };
  };
  return {
    model: place,
    architecture: config.architecture,
    method: choice.adapter !== null ? "adapter" : peft.peftMethod === "none" ? "full" : peft.peftMethod,
    dtype,
    autocast: training.bf16 ? "bfloat16" : training.fp16 ? "float16" : null,
    shape,
    mappedWeights,
    logits: logitsBytes(config, shape, training.bf16 || training.fp16 ? 2 : dtype === "float32" ? 4 : 2),
    machine,
    chosen: variant(chosen, training.gradientCheckpointing),
    other: variant(other, !training.gradientCheckpointing),
  };
}

/** Where the vectors of prompt tuning start takes no memory, and would need the tokenizer. */
function withoutTexts(args: ParsedArguments): ParsedArguments {
  return { ...args, peft: { ...args.peft, promptTuningInit: "RANDOM" } };
}

function logitsBytes(
  { vocabSize }: CausalLMConfig,
  { rows, width }: TrainingShape,
  itemSize: number,
): MemoryEstimate["logits"] {
  const tokens = rows * width;
  const chunk = Math.min(tokens, rowsPerChunk(tokens, vocabSize));
  return { full: tokens * vocabSize * itemSize, held: chunk * vocabSize * itemSize };
}

/** dtype of the weights in a folder that has some; a file is a configuration alone. */
function storedDType(place: string): DType | undefined {
  if (!statSync(place).isDirectory()) return undefined;
  if (!["model.safetensors", "model.safetensors.index.json"].some((name) => existsSync(join(place, name))))
    return undefined;
  using checkpoint = Checkpoint.open(place);
  const names = new Set([...checkpoint.tensors.values()].map(({ storedDType: name }) => name));
  const [only] = names;
  const dtypes: Readonly<Record<string, DType>> = { F32: "float32", BF16: "bfloat16", F16: "float16" };
  return names.size === 1 && only !== undefined ? dtypes[only] : undefined;
}
