import type { DatasetReport } from "../data/index.ts";
import type { TrainableModel } from "../slots.ts";
import { SftData, type SftDataOptions } from "./sft-data.ts";
import { Trainer } from "./trainer.ts";
import type { ProcessingClass, TrainerOptions } from "./trainer-options.ts";

export interface SftTrainerOptions<Model extends TrainableModel>
  extends
    Omit<TrainerOptions<Model>, "trainLoader" | "evalLoader" | "processingClass">,
    Omit<SftDataOptions<Model>, "tokenizer" | "slots"> {
  readonly tokenizer?: (NonNullable<SftDataOptions<Model>["tokenizer"]> & Partial<ProcessingClass>) | undefined;
}

/**
 * Supervised fine-tuning: the trainer with data sets in place of batches. Rows become tokens and masks when training begins, or with
 * `prepare()`; what was cut, dropped or masked is counted and shown.
 */
export class SftTrainer<Model extends TrainableModel = TrainableModel> extends Trainer<Model> {
  readonly #data: SftData<Model>;

  /** @throws ArgumentError */
  constructor(options: SftTrainerOptions<Model>) {
    const { tokenizer, trainDataset, evalDataset, data: format, slots, ...rest } = options;
    const data = new SftData<Model>({
      tokenizer,
      trainDataset,
      evalDataset,
      data: format,
      ...(slots === undefined ? {} : { slots }),
    });
    super({
      ...rest,
      ...(trainDataset === undefined ? {} : { trainLoader: (context) => data.trainLoader(context) }),
      ...(evalDataset === undefined ? {} : { evalLoader: (context) => data.evalLoader(context) }),
      ...(isSavable(tokenizer) ? { processingClass: tokenizer } : {}),
      ...(slots === undefined ? {} : { slots }),
    });
    this.#data = data;
  }

  /** What became of the rows of a data set; `undefined` before it was tokenised. */
  datasetReport(set: "train" | "eval"): DatasetReport | undefined {
    return this.#data.report(set);
  }
}

function isSavable(tokenizer: Partial<ProcessingClass> | undefined): tokenizer is ProcessingClass {
  return tokenizer?.savePretrained !== undefined;
}
