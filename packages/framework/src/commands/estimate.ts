import { statSync } from "node:fs";
import type { CommandDefinition } from "../cli/command-definition.ts";
import { printLine } from "../cli/terminal.ts";
import { gpuMemory } from "./gpu-memory.ts";
import { readInvocation, modelFolder } from "./invocation-values.ts";
import { estimateMemory } from "./memory-estimate.ts";
import { memoryTable } from "./memory-report.ts";
import { trainFlagGroups } from "./train-flags.ts";

const ownTable = [
  { name: "json", type: "boolean", default: false, help: "Print one JSON object, sizes in bytes." },
  {
    name: "device_memory",
    type: "string",
    default: null,
    help: "Memory of the GPU to estimate for, such as 80GiB; by default what the driver says of --device.",
  },
] as const;

export const estimateCommand: CommandDefinition = {
  positionals: [["[model]", "folder of a model, or a config.json"]],
  groups: [
    { heading: "Output", rows: ownTable },
    ...trainFlagGroups().filter(({ heading }) => heading !== "Configuration"),
  ],
  examples: [
    "fms-accel estimate ./SmolLM-135M --peft_method lora --r 16 --target_modules all-linear --max_seq_length 1024 --bf16",
    "fms-accel estimate config.json --bf16 --max_seq_length 4096 --device_memory 80GiB",
    "fms-accel estimate config.json --per_device_train_batch_size 2 --max_seq_length 2048 --json",
  ],

  async run(invocation, terminal): Promise<number> {
    const { own, shared } = readInvocation(ownTable, invocation);
    const place = shared.model.modelConfig ?? modelFolder(invocation, shared.model.modelNameOrPath);
    const isFile = statSync(place, { throwIfNoEntry: false })?.isFile() === true;
    const model = { ...shared.model, ...(isFile ? { modelConfig: place } : { modelNameOrPath: place }) };
    const gpu = gpuMemory(shared.model.device, own.deviceMemory);
    const options = gpu === undefined ? {} : { machine: gpu };
    const { perDeviceTrainBatchSize: rows, maxSeqLength: width } = shared.training;
    const estimate = await estimateMemory({ ...shared, model }, { rows, width }, options);
    const lines = own.json ? [JSON.stringify(estimate, null, 2)] : memoryTable(estimate);
    for (const line of lines) printLine(terminal.output, line);
    return 0;
  },
};
