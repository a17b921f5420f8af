import { ModelPatcher } from "@fms-accel/framework";
import type { CausalLM } from "@fms-accel/models";
import { BatchList, collate, evaluateLoss, type Batch, type EvaluationResult, type Sample } from "@fms-accel/trainer";
import { PackedDataset } from "../data/packed-dataset.ts";
import { flattenSamples } from "../padding-free/flatten-samples.ts";
import { paddingFreeRule } from "../padding-free/padding-free-rule.ts";

/** Loss over tokens, and how many of them, of one way to put samples into batches. */
export interface PackingLoss {
  readonly name: string;
  readonly loss: number;
  readonly lossTokens: number;
  readonly rows: number;
  readonly seconds: number;
}

export interface CompareOptions {
  readonly packLength: number;
  readonly batchSize: number;
  readonly padTokenId: number;
  readonly device: string;
}

/**
 * The loss of samples padded, packed into rows, and packed into flat batches on a model that the padding-free rule has patched. The model is as
 * before afterwards.
 *
 * @throws TrainingError when no token is trained
 */
export async function comparePacking(
  model: CausalLM,
  samples: readonly Sample[],
  { packLength, batchSize, padTokenId, device }: CompareOptions,
): Promise<{ readonly original: PackingLoss; readonly packed: readonly PackingLoss[] }> {
  const measure = async (name: string, batches: readonly Batch[]): Promise<PackingLoss> => {
    const result: EvaluationResult = await evaluateLoss(model, new BatchList(batches), { device });
    const rows = batches.reduce((sum, { shape }) => sum + shape[0], 0);
    return { name, loss: result.loss, lossTokens: result.trainableTokens, rows, seconds: result.seconds };
  };
  const padded: Batch[] = [];
  for (let start = 0; start < samples.length; start += batchSize)
    padded.push(collate(samples.slice(start, start + batchSize), { padTokenId }));
  const original = await measure("original dataset, original model", padded);

  const dataset = new PackedDataset(samples, { padTokenId }, packLength);
  const rows = Array.from(dataset.groups.keys(), (row) => dataset.batch([row]));
  const inRows = await measure("packed dataset, original model", rows);

  const patcher = new ModelPatcher();
  patcher.register(paddingFreeRule(() => {}));
  patcher.patch(model);
  try {
    const flat = dataset.groups.map((group) => flattenSamples(Array.from(group, (index) => samples[index]!)));
    return { original, packed: [inRows, await measure("packed dataset, padding-free model", flat)] };
  } finally {
    patcher.undo();
  }
}
