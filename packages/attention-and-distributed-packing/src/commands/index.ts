import type { CommandEntry } from "@fms-accel/framework";

/** What this package adds to the command line. */
export const commands: readonly CommandEntry[] = [
  {
    name: "assert-packing",
    summary: "compare the loss of packed samples with that of padded ones",
    load: async () => (await import("./assert-packing.ts")).assertPackingCommand,
  },
  {
    name: "preview --packing",
    summary: "draw packed batches, and picture their attention",
    load: async () => (await import("./preview-packing.ts")).previewPackingCommand,
  },
];
