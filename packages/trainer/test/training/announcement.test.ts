import { fixturePath, meetingRanks } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import {
  loadDataset,
  SftTrainer,
  TrainerSlots,
  type Communicator,
  type TrainingArgumentsInput,
} from "../../src/index.ts";
import type { CausalLM } from "@fms-accel/models";
import { makeModel } from "./small-run.ts";

/** What a run of the 40 samples says from "Running training" to its trainable parameters. */
async function announced(
  args: TrainingArgumentsInput,
  { slots, communicator }: { slots?: TrainerSlots<CausalLM>; communicator?: Communicator } = {},
): Promise<string[]> {
  let text = "";
  const trainer = new SftTrainer<CausalLM>({
    model: await makeModel("lora"),
    args: { saveStrategy: "no", loggingStrategy: "no", ...args },
    trainDataset: await loadDataset(fixturePath("curves", "full-llama", "train.jsonl")),
    output: { write: (part: string) => (text += part) },
    ...(slots === undefined ? {} : { slots }),
    ...(communicator === undefined ? {} : { communicator }),
  });
  await trainer.train();
  const lines = text.split("\n");
  const start = lines.indexOf("***** Running training *****");
  return start < 0 ? [] : lines.slice(start, start + 8);
}

describe("a run says what it consists of, as Hugging Face's trainer does", () => {
  it("on one rank", async () => {
    const lines = await announced({ numTrainEpochs: 2, perDeviceTrainBatchSize: 4, gradientAccumulationSteps: 5 });
    expect(lines).toEqual([
      "***** Running training *****",
      "Num examples = 40",
      "Num Epochs = 2",
      "Instantaneous batch size per device = 4",
      "Total train batch size (w. parallel, distributed & accumulation) = 20",
      "Gradient Accumulation steps = 5",
      "Total optimization steps = 4",
      expect.stringMatching(/^Number of trainable parameters = [\d,]+$/),
    ]);
    const model = await makeModel("lora");
    let trained = 0;
    for (const [, { requiresGrad, numel }] of model.namedParameters()) if (requiresGrad) trained += numel;
    expect(lines.at(-1)).toBe(`Number of trainable parameters = ${trained.toLocaleString("en-US")}`);
  });

  it("on several, once", async () => {
    const runs = meetingRanks(2).map((communicator) =>
      announced({ numTrainEpochs: 1, perDeviceTrainBatchSize: 4 }, { communicator }),
    );
    const [zero, one] = await Promise.all(runs);
    expect(zero).toContain("Total train batch size (w. parallel, distributed & accumulation) = 8");
    expect(zero).toContain("Total optimization steps = 5");
    expect(one).toEqual([]);
  });

  it("where a plugin decides how many samples a batch has, and in a stream", async () => {
    const slots = new TrainerSlots<CausalLM>();
    slots.claim("windowPlanner", "MyPlugin", (standard) => standard, "packer");
    const lines = await announced({ maxSteps: 2, streaming: true }, { slots });
    expect(lines).toContain("Num Epochs = as many as the steps take");
    expect(lines).toContain("Instantaneous batch size per device = as packer deals them out");
    expect(lines).toContain("Total optimization steps = 2");
  });
});
