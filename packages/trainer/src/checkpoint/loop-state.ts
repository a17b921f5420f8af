import { z } from "zod";
import type { StreamPlace } from "../slots.ts";

/**
 * What resuming needs beyond weights, optimiser and trainer_state.json; `loop_state.json` of a checkpoint. Whole numbers unless said
 * otherwise.
 */
export const loopStateSchema: z.ZodType<LoopState> = z.strictObject({
  sequence: z.int(),
  data: z.strictObject({
    epoch: z.int(),
    batches: z.int(),
    sampleCount: z.int(),
    batchSize: z.int(),
    gradientAccumulationSteps: z.int(),
    samplingStrategy: z.string(),
    seed: z.int(),
    ranks: z.int(),
    stream: z
      .strictObject({
        window: z.int(),
        batches: z.int(),
        row: z.int(),
        waiting: z.array(z.tuple([z.int(), z.int()])),
      })
      .optional(),
  }),
  epochEnded: z.boolean(),
  losses: z.strictObject({ sinceLog: z.number(), stepsSinceLog: z.int(), total: z.number(), steps: z.int() }),
  gradNorm: z.number().nullable(),
  learningRate: z.number(),
  counters: z.strictObject({
    batchesWithoutTrainableTokens: z.int(),
    stepsWithoutTrainableTokens: z.int(),
    stepsNotFinite: z.int(),
    trainableTokens: z.int(),
  }),
});

export interface LoopState {
  /** Counts the checkpoints of a folder in the order they were written, also across runs that share it. */
  sequence: number;
  /** Where the next micro-batch is, and the settings under which that position means anything. */
  data: DataPosition;
  /** Whether the end of the epoch was already dealt with: logged, evaluated. */
  epochEnded: boolean;
  /** Sums of step losses (float64): since the last log entry, and over the run. */
  losses: { sinceLog: number; stepsSinceLog: number; total: number; steps: number };
  /** Norm of the last gradient, before clipping. */
  gradNorm: number | null;
  /** Learning rate of the last step. */
  learningRate: number;
  counters: LoopCounters;
}

export interface DataPosition {
  /** Epoch, from 0. */
  epoch: number;
  /** Micro-batches of it that were trained on. */
  batches: number;
  sampleCount: number;
  batchSize: number;
  gradientAccumulationSteps: number;
  samplingStrategy: string;
  seed: number;
  ranks: number;
  /** Where a stream stands; `undefined` at the start of an epoch, and where samples are numbered. */
  stream?: StreamPlace | undefined;
}

export interface LoopCounters {
  /** Micro-batches whose labels are all masked; they add nothing to a step. */
  batchesWithoutTrainableTokens: number;
  /** Steps made of such micro-batches only; the weights stay as they are. */
  stepsWithoutTrainableTokens: number;
  /** Steps left out because the loss or the gradient was not finite. */
  stepsNotFinite: number;
  /** Tokens that were targets of the loss. */
  trainableTokens: number;
}
