import type { SlotClaim, TrainerSlotName } from "@fms-accel/trainer";

const TITLE = "***************** Accelerator Patching *************";

/** The parts of a trainer by the names that Accelerate gives them. */
const COMPONENTS: Readonly<Record<TrainerSlotName, string>> = {
  collator: "data_collator",
  batchSampler: "batch_sampler",
  dataLoader: "data_loader",
  windowPlanner: "data_loader",
  loss: "loss_function",
};

/** A title, and a line for each part of the trainer that a plugin replaces. */
export function summariseSlots(claims: readonly SlotClaim[]): string {
  const lines = claims.map(
    ({ id, slot }) =>
      `Rule: ${id.padEnd(25)} Kind: ${"replacement".padEnd(10)} Component: ${COMPONENTS[slot].padEnd(20)}`,
  );
  return [TITLE, ...lines].join("\n");
}
