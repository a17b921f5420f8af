import { setImmediate } from "node:timers/promises";
import type { BatchSampler, Collator, LongSamplePolicy, RankPosition, SampleSource } from "@fms-accel/trainer";
import { grouped } from "../packing/counting.ts";
import { describeLongSamples, FittedSamples } from "../packing/fitted-samples.ts";
import { MultipackBatchSampler } from "../packing/multipack-sampler.ts";
import { describePacking, describePadding, paddedCost } from "../packing/packing-cost.ts";
import { runInSlices, SLICE_ITEMS, type Sliced } from "../packing/sliced.ts";
import { chooseLayout } from "./batch-layout.ts";
import { MultipackLoader } from "./multipack-loader.ts";

/** What a user decides about multipack. */
export interface MultipackSettings {
  /** Tokens of a micro-batch on one rank; default: the batch size times the mean length, as in fms-acceleration. */
  readonly capacity?: number | undefined;
  readonly longSamples: LongSamplePolicy;
  /** Rows of a micro-batch, each with several samples and an equal share of the capacity. Default: no such rows. */
  readonly rows?: number | undefined;
}

export interface MultipackInput {
  readonly samples: SampleSource;
  /** Tokens of every sample: int32 [samples]. */
  readonly lengths: Int32Array;
  /** Micro-batches without packing: what they would cost is shown beside the packed ones. */
  readonly unpacked: BatchSampler;
  readonly batchSize: number;
  /** Makes a batch of samples, unless `rows` are asked for. */
  readonly collator: Collator;
  /** Whether that batch is without padding. */
  readonly isPaddingFree: boolean;
  readonly padTokenId: number;
  readonly position: RankPosition;
  readonly seed: number;
  /** Shows a line. */
  readonly say: (line: string) => void;
}

/**
 * The data loader of a multipack run. Its first epoch is planned, and what there is to know about it is said.
 *
 * @throws DatasetError for long samples that are refused, and for settings that make no batch
 */
export async function createMultipackLoader(
  input: MultipackInput,
  settings: MultipackSettings,
): Promise<MultipackLoader> {
  const { lengths, position, say } = input;
  const { rows, longSamples } = settings;
  const { layout, shape, measure } = chooseLayout(rows, input);
  const mean = await runInSlices(meanLength(lengths));
  const capacity = settings.capacity ?? input.batchSize * mean;
  const origin =
    settings.capacity === undefined ? ` (batch size ${input.batchSize} × mean length ${mean.toFixed(1)})` : "";
  const rowCapacity = Math.max(1, Math.floor(capacity / (rows ?? 1)));
  const samples = new FittedSamples(input.samples, lengths, rowCapacity, longSamples);
  // A pass over millions of lengths takes some 20 ms: the event loop has a turn behind each.
  await setImmediate();
  const sampler = new MultipackBatchSampler(samples.lengths, {
    capacity,
    rows,
    measure,
    position,
    seed: input.seed,
  });
  await setImmediate();
  await sampler.prepareEpoch(0);
  const long = describeLongSamples(samples.report);
  if (long !== undefined) say(`Multipack: ${long}`);
  const statistics = await sampler.measureEpoch(0);
  say(
    `Multipack: up to ${grouped(Math.floor(capacity))} tokens a batch${origin}, ${shape}. ${describePacking(statistics, position)}`,
  );
  await input.unpacked.prepareEpoch?.(0);
  const unpacked = await runInSlices(paddedCost(input.unpacked, lengths));
  const whose = position.worldSize === 1 ? "" : ` on rank ${position.rank}`;
  say(`Multipack: ${describePadding(unpacked)}${whose} without it, ${describePadding(statistics)} with it.`);
  const order = `multipack, rows of ${rowCapacity} tokens × ${rows ?? 1}, ${shape}, long_samples ${longSamples}`;
  const largest = [sampler.rows, Math.min(rowCapacity, statistics.tokens)] as const;
  return new MultipackLoader(samples, sampler, layout, largest, order);
}

function* meanLength(lengths: Int32Array): Sliced<number> {
  let sum = 0;
  for (let i = 0; i < lengths.length; i++) {
    sum += lengths[i]!;
    if (i % SLICE_ITEMS === 0) yield;
  }
  return sum / lengths.length;
}
