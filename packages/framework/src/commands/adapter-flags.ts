import type { CombinationType } from "@fms-accel/models";
import type { ArgumentValues } from "@fms-accel/trainer";
import { UsageError } from "../errors.ts";

/** Adapters of commands that do not train. */
export const adapterTable = [
  {
    name: "adapter",
    type: "strings",
    default: null,
    help: "Folders of adapters; the changes of several are added up, or weighted by --adapter_weights.",
  },
  { name: "adapter_weights", type: "strings", default: null, help: "A factor for each adapter, such as 0.7 0.3." },
  {
    name: "adapter_combination",
    type: "string",
    default: "cat",
    choices: ["cat", "linear", "svd"],
    help: "How weighted adapters become one, as in PEFT: cat is exact, svd as near as the largest rank allows, linear adds up A and B apart.",
  },
] as const;

/** Which adapters a command uses. */
export interface AdapterChoice {
  readonly folders: readonly string[];
  /** A factor for each, unless their changes are just added up. */
  readonly weights: readonly number[] | undefined;
  readonly combination: CombinationType;
}

export const noAdapter: AdapterChoice = { folders: [], weights: undefined, combination: "cat" };

/** @throws UsageError for weights that are no numbers or do not fit the adapters */
export function adapterChoice(own: ArgumentValues<typeof adapterTable>): AdapterChoice {
  const folders = own.adapter ?? [];
  const weights = own.adapterWeights?.map((word) => {
    const weight = Number(word);
    if (word.trim() === "" || !Number.isFinite(weight)) {
      throw new UsageError(`--adapter_weights: expected numbers, found ${JSON.stringify(word)}.`);
    }
    return weight;
  });
  if (weights !== undefined && weights.length !== folders.length) {
    throw new UsageError(
      `--adapter_weights: expected a number for each adapter, found ${weights.length} for ${folders.length}.`,
    );
  }
  if (weights === undefined && own.adapterCombination !== "cat") {
    throw new UsageError("--adapter_combination has no effect without --adapter_weights.");
  }
  return { folders, weights, combination: own.adapterCombination };
}
