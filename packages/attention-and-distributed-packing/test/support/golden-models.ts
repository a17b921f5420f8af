/** The reference models of packages-private/fixtures/models, and the samples of their batches. */
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AutoModelForCausalLM, type CausalLM, type CausalLMInputs } from "@fms-accel/models";
import { defaultDevice, type Module, scope, tensor } from "@fms-accel/tensor";
import { fixturePath, readSafetensors, type ReferenceTensor, temporaryDirectory } from "@fms-accel/test-utilities";
import { type Batch, batchInputs, countTrainable, type Sample } from "@fms-accel/trainer";

/** Every architecture with reference numbers, mixtral-v5 and gpt2-hub being others in another layout. */
export const MODELS: readonly string[] = readdirSync(fixturePath("models")).filter((name) =>
  existsSync(fixturePath("models", name, "expected.safetensors")),
);
/** Frequencies that depend on the longest sequence of a call: a batch differs from its sequences alone, in the reference too. */
export const LENGTH_DEPENDENT: readonly string[] = ["llama-rope-dynamic", "llama-longrope"];

const configuration = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(fixturePath("models", name, "config.json"), "utf8")) as Record<string, unknown>;

export const hasRouterLoss = (name: string): boolean => configuration(name)["output_router_logits"] === true;

/** The model in float32; its configuration with `changes`. */
export async function openGoldenModel(name: string, changes: Record<string, unknown> = {}): Promise<CausalLM> {
  let directory = fixturePath("models", name);
  if (Object.keys(changes).length > 0) {
    const copy = join(temporaryDirectory(), name);
    cpSync(directory, copy, { recursive: true });
    writeFileSync(join(copy, "config.json"), JSON.stringify({ ...configuration(name), ...changes }));
    directory = copy;
  }
  return await AutoModelForCausalLM.fromPretrained(directory, { dtype: "float32" });
}

export function goldenTensors(name: string): ReadonlyMap<string, ReferenceTensor> {
  return readSafetensors(fixturePath("models", name, "expected.safetensors"));
}

/** The rows of the fixture's batch without their padding. */
export function goldenSamples(name: string): Sample[] {
  const tensors = goldenTensors(name);
  const rows = (key: string): Int32Array => Int32Array.from(tensors.get(key)!.data as ArrayLike<number>);
  const [ids, labels, mask] = [rows("input_ids"), rows("labels"), rows("attention_mask")];
  const [count, width] = tensors.get("input_ids")!.shape as [number, number];
  return Array.from({ length: count }, (_, row) => {
    const kept = (from: Int32Array): Int32Array =>
      from.slice(row * width, (row + 1) * width).filter((_, t) => mask[row * width + t] !== 0);
    return { inputIds: kept(ids), labels: kept(labels) };
  });
}

/** Loss and gradients of a step: the micro-batches' losses, divided by the targets of all of them, and their gradients added up. */
export interface StepNumbers {
  readonly loss: number;
  readonly gradients: ReadonlyMap<string, Float32Array>;
}

interface TrainedModel extends Module {
  forward(inputs: CausalLMInputs): { readonly loss: { backward(): void; item(): number } | undefined };
}

export function stepNumbers(model: TrainedModel, batches: readonly Batch[]): StepNumbers {
  const items = batches.reduce((sum, { trainableTokens }) => sum + trainableTokens, 0);
  let loss = 0;
  for (const batch of batches) {
    scope(() => {
      const output = model.forward(batchInputs(batch, defaultDevice(), items));
      output.loss!.backward();
      loss += output.loss!.item();
    });
  }
  const gradients = new Map<string, Float32Array>();
  for (const [name, parameter] of model.namedParameters()) {
    if (!parameter.requiresGrad) continue;
    gradients.set(name, parameter.grad?.toFloat32Array() ?? new Float32Array(parameter.numel));
    parameter.grad?.dispose();
    parameter.grad = undefined;
  }
  return { loss, gradients };
}

/** Samples one behind the other as if they were one: each token sees those of all samples before it. What must never happen. */
export function leakingBatch(samples: readonly Sample[]): Batch {
  const join = (key: "inputIds" | "labels"): Int32Array =>
    Int32Array.from(samples.flatMap((sample) => [...sample[key]]));
  const inputIds = join("inputIds");
  const labels = join("labels");
  let start = 0;
  for (const sample of samples) {
    labels[start] = -100;
    start += sample.inputIds.length;
  }
  return {
    shape: [1, inputIds.length],
    inputIds,
    labels,
    tokens: inputIds.length,
    trainableTokens: samples.reduce((sum, sample) => sum + countTrainable(sample.labels), 0),
  };
}

/** An integer input of the fixture as int32. */
export function goldenInput(tensors: ReadonlyMap<string, ReferenceTensor>, key: string) {
  const { data, shape } = tensors.get(key)!;
  return tensor(Int32Array.from(data as ArrayLike<number>), { shape, dtype: "int32" });
}
