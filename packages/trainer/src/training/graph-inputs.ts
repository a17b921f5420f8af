import {
  cumulativeLengths,
  hidesKeys,
  numberSequences,
  shiftedTargets,
  type CausalLMInputs,
  type InputFacts,
  type Targets,
} from "@fms-accel/models";
import { empty, type Device, type Tensor } from "@fms-accel/tensor";
import type { Batch } from "../slots.ts";

const ARRAYS = ["inputIds", "labels", "attentionMask", "positionIds", "sequenceIds"] as const;

/** A micro-batch and what a forward call would read from it on the host. */
interface PlannedBatch {
  readonly batch: Batch;
  readonly targets: ReturnType<typeof shiftedTargets>;
  readonly hides: boolean | undefined;
  readonly sequences: Int32Array | undefined;
  /** Where its sequences begin and end, filled up; undefined where they do not lie together, or rows are not packed. */
  readonly bounds: Int32Array | undefined;
  readonly length: number;
  /** Batches of one key are computed by the same operations on tensors of the same shapes. */
  readonly key: string;
}

/**
 * Works out what is computed of a micro-batch.
 *
 * @param equivalentLength the model's
 */
export function planBatch(batch: Batch, equivalentLength: (length: number) => number): PlannedBatch {
  const { shape, labels, attentionMask, positionIds, sequenceIds } = batch;
  const targets = shiftedTargets(labels, shape, { isFilled: true });
  const hides = attentionMask && hidesKeys(attentionMask, shape);
  const sequences = positionIds && numberSequences(positionIds, shape);
  const bounds = (positionIds ?? sequenceIds) && filledBounds(cumulativeLengths(sequenceIds ?? sequences, shape));
  const length = positionIds === undefined ? 0 : equivalentLength(positionIds.reduce((a, b) => Math.max(a, b), 0) + 1);
  const present = ARRAYS.filter((name) => batch[name] !== undefined);
  const key = [
    shape.join("×"),
    targets.rows.length,
    present.join("+"),
    hides,
    sequences !== undefined,
    bounds?.length,
    length,
  ].join(" ");
  return { batch, targets, hides, sequences, bounds, length, key };
}

/** Bounds of a power of two of sequences, the last ones empty: batches of about as many sequences have one shape. */
function filledBounds(bounds: Int32Array | undefined): Int32Array | undefined {
  if (bounds === undefined) return undefined;
  const filled = new Int32Array(2 ** Math.ceil(Math.log2(Math.max(bounds.length - 1, 1))) + 1).fill(bounds.at(-1) ?? 0);
  filled.set(bounds);
  return filled;
}

/** Tensors of a micro-batch on a GPU whose values change from step to step: what a captured step reads. */
export class GraphInputs {
  readonly inputs: CausalLMInputs;
  readonly #tensors = new Map<(typeof ARRAYS)[number], Tensor>();
  readonly #targets: Targets;
  readonly #sequences: Tensor | undefined;
  readonly #bounds: Tensor | undefined;

  /** @param numItemsInBatch float32 scalar, the caller's */
  constructor(plan: PlannedBatch, device: Device, numItemsInBatch: Tensor) {
    const { batch, targets, hides, sequences, bounds, length } = plan;
    const integers = (shape: readonly number[]): Tensor => empty(shape, { dtype: "int32", device });
    for (const name of ARRAYS) if (batch[name] !== undefined) this.#tensors.set(name, integers(batch.shape));
    const filled = targets.rows.length;
    this.#targets = { rows: integers([filled]), labels: integers([filled]), count: targets.count };
    this.#sequences = sequences && integers(batch.shape);
    this.#bounds = bounds && integers([bounds.length]);
    const [labels, mask, positions, ids] = (["labels", "attentionMask", "positionIds", "sequenceIds"] as const).map(
      (name) => this.#tensors.get(name),
    );
    const packed = ids ?? positions;
    const facts: InputFacts = {
      targets: new Map(labels && [[labels, this.#targets]]),
      hidesKeys: new Map(mask && [[mask, hides === true]]),
      sequenceIds: new Map(positions && [[positions, this.#sequences]]),
      lengths: new Map(positions && [[positions, length]]),
      cuSeqlens: new Map(packed && [[packed, this.#bounds]]),
    };
    this.inputs = { ...(Object.fromEntries(this.#tensors) as unknown as CausalLMInputs), numItemsInBatch, facts };
    this.write(plan);
  }

  /** Puts another micro-batch of the same key in place of this one. */
  write({ batch, targets, sequences, bounds }: PlannedBatch): void {
    for (const [name, target] of this.#tensors) target.copyFrom(batch[name] as Int32Array);
    this.#targets.rows.copyFrom(targets.rows);
    this.#targets.labels.copyFrom(targets.targets);
    if (sequences !== undefined) this.#sequences?.copyFrom(sequences);
    if (bounds !== undefined) this.#bounds?.copyFrom(bounds);
  }

  dispose(): void {
    for (const target of this.#tensors.values()) target.dispose();
    this.#targets.rows.dispose();
    this.#targets.labels.dispose();
    this.#sequences?.dispose();
    this.#bounds?.dispose();
  }
}
