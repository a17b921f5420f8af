import {
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
  /** Batches of one key are computed by the same operations on tensors of the same shapes. */
  readonly key: string;
}

/** Works out what is computed of a micro-batch. */
export function planBatch(batch: Batch): PlannedBatch {
  const { shape, labels, attentionMask, positionIds } = batch;
  const targets = shiftedTargets(labels, shape, { isFilled: true });
  const hides = attentionMask && hidesKeys(attentionMask, shape);
  const sequences = positionIds && numberSequences(positionIds, shape);
  const present = ARRAYS.filter((name) => batch[name] !== undefined);
  const key = [shape.join("×"), targets.rows.length, present.join("+"), hides, sequences !== undefined].join(" ");
  return { batch, targets, hides, sequences, key };
}

/** Tensors of a micro-batch on a GPU whose values change from step to step: what a captured step reads. */
export class GraphInputs {
  readonly inputs: CausalLMInputs;
  readonly #tensors = new Map<(typeof ARRAYS)[number], Tensor>();
  readonly #targets: Targets;
  readonly #sequences: Tensor | undefined;

  /** @param numItemsInBatch float32 scalar, the caller's */
  constructor(plan: PlannedBatch, device: Device, numItemsInBatch: Tensor) {
    const { batch, targets, hides, sequences } = plan;
    const integers = (shape: readonly number[]): Tensor => empty(shape, { dtype: "int32", device });
    for (const name of ARRAYS) if (batch[name] !== undefined) this.#tensors.set(name, integers(batch.shape));
    const filled = targets.rows.length;
    this.#targets = { rows: integers([filled]), labels: integers([filled]), count: targets.count };
    this.#sequences = sequences && integers(batch.shape);
    const [labels, mask, positions] = [
      this.#tensors.get("labels"),
      this.#tensors.get("attentionMask"),
      this.#tensors.get("positionIds"),
    ];
    const facts: InputFacts = {
      targets: new Map(labels && [[labels, this.#targets]]),
      hidesKeys: new Map(mask && [[mask, hides === true]]),
      sequenceIds: new Map(positions && [[positions, this.#sequences]]),
    };
    this.inputs = { ...(Object.fromEntries(this.#tensors) as unknown as CausalLMInputs), numItemsInBatch, facts };
    this.write(plan);
  }

  /** Puts another micro-batch of the same key in place of this one. */
  write({ batch, targets, sequences }: PlannedBatch): void {
    for (const [name, target] of this.#tensors) target.copyFrom(batch[name] as Int32Array);
    this.#targets.rows.copyFrom(targets.rows);
    this.#targets.labels.copyFrom(targets.targets);
    if (sequences !== undefined) this.#sequences?.copyFrom(sequences);
  }

  dispose(): void {
    for (const target of this.#tensors.values()) target.dispose();
    this.#targets.rows.dispose();
    this.#targets.labels.dispose();
    this.#sequences?.dispose();
  }
}
