import type { PluginManifest } from "./plugin-manifest.ts";

/** A plugin package of this project, installed or not. */
export interface CataloguedPackage extends PluginManifest {
  readonly packageName: string;
  readonly description: string;
  /** Whether there is such a package; the others are planned. */
  readonly isAvailable: boolean;
}

/**
 * The plugin packages of this project in the order in which they run: what to add for a path or flag that no installed plugin serves.
 * Packages of others need no entry.
 */
export const pluginCatalogue: readonly CataloguedPackage[] = [
  {
    packageName: "@fms-accel/accelerated-peft",
    shortname: "peft",
    entry: ".",
    description: "Adapters on a 4-bit base model: GPTQ and NF4.",
    isAvailable: false,
    paths: ["peft.quantization.auto_gptq", "peft.quantization.bitsandbytes"],
    options: ["auto_gptq", "bnb_qlora"],
  },
  {
    packageName: "@fms-accel/fused-ops-and-kernels",
    shortname: "foak",
    entry: ".",
    description: "Fused LoRA products, RoPE, RMS normalisation and cross-entropy.",
    isAvailable: false,
    paths: ["training.fused_ops_and_kernels", "peft.quantization.fused_ops_and_kernels"],
    options: ["fused_lora", "fast_kernels"],
  },
  {
    packageName: "@fms-accel/attention-and-distributed-packing",
    shortname: "aadp",
    entry: ".",
    description: "Attention without padding, and samples packed by length.",
    isAvailable: true,
    paths: ["training.attention.padding_free", "training.dataloader.multipack"],
    options: ["padding_free", "multipack", "packing_capacity", "packing_rows"],
    commands: {
      "assert-packing": "compare the loss of packed samples with that of padded ones",
      "preview --packing": "draw packed batches, and picture their attention",
    },
  },
  {
    packageName: "@fms-accel/accelerated-moe",
    shortname: "moe",
    entry: ".",
    description: "Grouped expert products and expert parallelism.",
    isAvailable: false,
    paths: ["training.moe.scattermoe"],
    options: ["fast_moe"],
  },
];

/** What to do about a package that a project has not, as the end of a sentence on it. */
export function howToAdd({ isAvailable, shortname }: CataloguedPackage): string {
  const command = `npx fms-accel install ${shortname}`;
  return isAvailable
    ? `which is not installed. Add it: ${command}`
    : `which is not installed, and was not available yet when this version was made. Once it is: ${command}`;
}
