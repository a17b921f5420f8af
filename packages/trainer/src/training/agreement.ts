import type { Communicator } from "../communicator.ts";
import type { TrainerControl } from "./state.ts";

const FLAGS = ["shouldTrainingStop", "shouldEpochStop", "shouldSave", "shouldEvaluate", "shouldLog"] as const;

/**
 * What a callback or a signal of one rank has decided holds on all of them, so that every rank makes the same steps, evaluations and
 * checkpoints, and none waits for another in one that is not made there. Collective.
 *
 * @param control gets the flags that are set on any rank
 * @param stopRequested whether this rank was asked to stop
 * @returns whether any was
 */
export async function agreeOverRanks(
  communicator: Communicator,
  control: TrainerControl,
  stopRequested: boolean,
): Promise<boolean> {
  if (communicator.size === 1) return stopRequested;
  const flags = Int32Array.from([stopRequested, ...FLAGS.map((name) => control[name])], Number);
  await communicator.allReduce(flags, "max");
  for (const [index, name] of FLAGS.entries()) control[name] = flags[index + 1] === 1;
  return flags[0] === 1;
}
