import { DatasetError, type WindowPlanner } from "@fms-accel/trainer";
import { counted, grouped, percent } from "../packing/counting.ts";
import { listAt, listCount } from "../packing/sample-lists.ts";
import { runInSlices } from "../packing/sliced.ts";
import { planWindow } from "../packing/window-plan.ts";
import { chooseLayout, layOutBatch } from "./batch-layout.ts";
import type { MultipackInput, MultipackSettings } from "./create-multipack.ts";

/** What there is to know of a run before its samples. */
export type StreamMultipackInput = Pick<
  MultipackInput,
  "collator" | "isPaddingFree" | "padTokenId" | "position" | "seed"
>;

/**
 * Multipack for samples that are not known in advance: they are packed a window at a time, and what would leave a bin half empty waits for the
 * next window.
 *
 * @throws DatasetError for settings that make no batch, and without a capacity: the mean length of a stream is not known
 */
export function createMultipackPlanner(input: StreamMultipackInput, settings: MultipackSettings): WindowPlanner {
  const { capacity, longSamples, rows } = settings;
  const { layout, measure, shape } = chooseLayout(rows, input);
  if (capacity === undefined) {
    const expected = "packing_capacity, the tokens of a batch: with streaming the mean length is not known beforehand";
    throw new DatasetError("multipack has no capacity", {}, { expected, found: "none" });
  }
  const { rank, worldSize } = input.position;
  const rowCount = rows ?? 1;
  const rowCapacity = Math.floor(capacity / rowCount);
  if (rowCapacity < 1) {
    const expected = `tokens from ${rowCount} on: one for each row`;
    throw new DatasetError("the capacity of a batch is not usable", {}, { expected, found: String(capacity) });
  }
  const lanes = rowCount * worldSize;
  const options = { capacity: rowCapacity, measure, lanes, seed: input.seed };
  const totals = { samples: 0, tokens: 0, steps: 0 };
  return {
    order: `multipack, rows of ${rowCapacity} tokens × ${rowCount}, ${shape}, long_samples ${longSamples}`,
    limit: {
      tokens: rowCapacity,
      name: `the ${grouped(rowCapacity)} tokens of a packed ${rows === undefined ? "batch" : "row"}`,
      longSamples,
    },
    largestBatch: [rowCount, rowCapacity],
    plan: async (window) => {
      const { plan, waiting } = await runInSlices(planWindow(window, options));
      totals.samples += plan.samples.length;
      totals.tokens += plan.samples.reduce((sum, sample) => sum + window.lengths[sample]!, 0);
      totals.steps += plan.steps;
      const batches = Array.from({ length: listCount(plan) / lanes }, (_, step) =>
        Array.from({ length: rowCount }, (__, row) => listAt(plan, step * lanes + row * worldSize + rank)).filter(
          (list) => list.length > 0,
        ),
      );
      return { batches, waiting };
    },
    batch: (samplesOfRows) => layOutBatch(samplesOfRows, layout),
    report: () => {
      const { samples, tokens, steps } = totals;
      Object.assign(totals, { samples: 0, tokens: 0, steps: 0 });
      if (steps === 0) return [];
      const ranks = worldSize === 1 ? "1 rank" : `each of ${worldSize} ranks`;
      const full = percent(tokens / (steps * lanes * rowCapacity));
      return [
        `Multipack: ${counted(samples, "sample")} planned in ${counted(steps, "batch", "batches")} on ${ranks}, ${shape}, ${full} full.`,
      ];
    },
  };
}
