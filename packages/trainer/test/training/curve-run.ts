/** Runs a training curve of the reference from its arguments alone. */
import { AutoModelForCausalLM, PeftModel, type CausalLM } from "@fms-accel/models";
import { fixturePath, readJsonFixture } from "@fms-accel/test-utilities";
import {
  loadDataset,
  parseArguments,
  SftTrainer,
  type LogEntry,
  type StepReport,
  type TrainingArgumentsInput,
} from "../../src/index.ts";

export interface Curve {
  readonly base: string;
  readonly lora: Record<string, unknown> | null;
  readonly arguments: Readonly<Record<string, unknown>>;
  readonly steps: readonly {
    readonly step: number;
    readonly loss: number;
    readonly grad_norm: number;
    readonly learning_rate: number;
    readonly num_items_in_batch: number;
  }[];
  readonly compared_with?: {
    readonly largest_loss_difference: number;
    readonly largest_grad_norm_difference: number;
    readonly largest_final_weight_difference: number;
  };
}

export function readCurve(name: string): Curve {
  return readJsonFixture("curves", name, "curve.json");
}

/** The arguments of a curve by name; the reference logs by steps, which is Hugging Face's default and not fms-hf-tuning's. */
export function curveArguments(curve: Curve): TrainingArgumentsInput {
  const raw = Object.entries(curve.arguments).map(([name, value]) => ({ name, value, where: name }));
  return parseArguments(raw).training;
}

/** The base model of a curve, with its initial adapter if it has one. */
export async function curveModel(name: string, curve: Curve): Promise<CausalLM> {
  const model = await AutoModelForCausalLM.fromPretrained(fixturePath(curve.base), { dtype: "float32" });
  if (curve.lora === null) return model;
  return PeftModel.fromPretrained(model, fixturePath("curves", name, "initial"), { isTrainable: true });
}

export interface CurveRun {
  readonly model: CausalLM;
  readonly logHistory: readonly LogEntry[];
  readonly steps: readonly StepReport[];
}

export async function runCurve(name: string, args: TrainingArgumentsInput = {}): Promise<CurveRun> {
  const curve = readCurve(name);
  const model = await curveModel(name, curve);
  const steps: StepReport[] = [];
  const trainer = new SftTrainer({
    model,
    args: { ...curveArguments(curve), ...args },
    trainDataset: await loadDataset(fixturePath("curves", name, "train.jsonl")),
    callbacks: [{ onStepEnd: ({ step }) => void steps.push(step) }],
    output: "silent",
  });
  await trainer.train();
  return { model, logHistory: trainer.state.logHistory, steps };
}
