import { type AccelerationPlugin, definePlugin } from "@fms-accel/framework";
import { z } from "zod";
import { nativeAddon } from "../native.ts";
import { flattenSamples } from "./flatten-samples.ts";
import { paddingFreeRule } from "./padding-free-rule.ts";

const PATH = "training.attention.padding_free";
const METHODS = ["huggingface"] as const;

/** Batches without padding: samples lie one behind the other in one row, and no token attends to another sample. */
export const paddingFreeAccelerationPlugin: AccelerationPlugin = definePlugin({
  name: "PaddingFreeAccelerationPlugin",
  description: "Batches without padding, and attention that takes time for each sample alone",
  paths: { allOf: [PATH] },
  schemas: {
    [PATH]: z
      .strictObject({ method: z.enum(METHODS).describe("The only method.") })
      .describe("A batch is one row of tokens without padding; no token attends to another sample."),
  },
  kernels: [{ name: "variable_length_attention", load: nativeAddon }],
  options: [
    {
      name: "padding_free",
      path: PATH,
      help: "train on batches without padding; the only method is huggingface",
      standsAlone: true,
      values: [
        {
          name: "method",
          type: "string",
          default: "huggingface",
          choices: METHODS,
          help: "the only one is huggingface",
        },
      ],
    },
  ],
  activate: (_configuration, { say }) => ({
    augment: () => ({
      rules: [paddingFreeRule(say)],
      slots: { collator: { id: "flattening-collator", build: () => flattenSamples } },
    }),
  }),
});
