import { z } from "zod";
import {
  definePlugin,
  type AccelerationPlugin,
  type FrameworkOptions,
  type PluginHooks,
  type PluginRegistration,
} from "../../src/index.ts";

/** Plugins with the names, paths and settings of the original's, which do nothing: what they are active for is the test. */

const keepModel = (): object => ({});
const loader: PluginHooks = {
  loadModel: () => Promise.reject(new Error("not for loading")),
};

const autoGptq = definePlugin({
  name: "AutoGPTQAccelerationPlugin",
  description: "",
  paths: { allOf: ["peft.quantization.auto_gptq"] },
  schemas: {
    "peft.quantization.auto_gptq": z.strictObject({
      kernel: z.literal("triton_v2"),
      from_quantized: z.literal(true),
      use_external_lib: z.literal(false).default(false),
    }),
  },
  options: [
    {
      name: "auto_gptq",
      path: "peft.quantization.auto_gptq",
      help: "",
      values: [
        { name: "kernel", type: "string", default: "triton_v2", choices: ["triton_v2"], help: "" },
        { name: "from_quantized", type: "boolean", default: true, help: "" },
      ],
    },
  ],
  activate: () => ({ ...loader, augment: keepModel }),
});

const bnb = definePlugin({
  name: "BNBAccelerationPlugin",
  description: "",
  paths: { allOf: ["peft.quantization.bitsandbytes"] },
  schemas: {
    "peft.quantization.bitsandbytes": z.strictObject({
      quant_type: z.enum(["nf4", "fp4"]),
      no_peft_model: z.boolean(),
    }),
  },
  requiredPackages: ["bitsandbytes"],
  options: [
    {
      name: "bnb_qlora",
      path: "peft.quantization.bitsandbytes",
      help: "",
      values: [
        { name: "quant_type", type: "string", default: "nf4", choices: ["nf4", "fp4"], help: "" },
        { name: "no_peft_model", type: "boolean", default: false, help: "" },
      ],
    },
  ],
  activate: (configuration) => ({
    ...loader,
    ...(configuration["peft.quantization.bitsandbytes"].no_peft_model ? {} : { augment: keepModel }),
  }),
});

const kernels = z.strictObject({
  base_layer: z.enum(["auto_gptq", "bitsandbytes"]).optional(),
  fused_lora: z.boolean().default(false),
  fast_loss: z.union([z.boolean(), z.literal("fused_ce_liger")]).default(false),
  fast_rms_layernorm: z.boolean().default(false),
  fast_rope_embeddings: z.boolean().default(false),
});

const fastKernels = definePlugin({
  name: "FastKernelsAccelerationPlugin",
  description: "",
  paths: { anyOf: ["training.fused_ops_and_kernels", "peft.quantization.fused_ops_and_kernels"] },
  schemas: { "training.fused_ops_and_kernels": kernels, "peft.quantization.fused_ops_and_kernels": kernels },
  restrictedArchitectures: ["LlamaForCausalLM", "GraniteForCausalLM"],
  options: [
    {
      name: "fused_lora",
      path: "peft.quantization.fused_ops_and_kernels",
      help: "",
      values: [
        { name: "base_layer", type: "string", default: null, choices: ["auto_gptq", "bitsandbytes"], help: "" },
        { name: "fused_lora", type: "boolean", default: false, help: "" },
      ],
    },
    {
      name: "fast_kernels",
      path: "training.fused_ops_and_kernels",
      help: "",
      values: ["fast_loss", "fast_rms_layernorm", "fast_rope_embeddings"].map((name) => ({
        name,
        type: "boolean" as const,
        default: false,
        help: "",
      })),
    },
  ],
  activate: () => ({ augment: keepModel }),
});

const multipack = definePlugin({
  name: "MultipackDataloaderAccelerationPlugin",
  description: "",
  paths: { allOf: ["training.dataloader.multipack", "training.attention"] },
  schemas: { "training.dataloader.multipack": z.strictObject({ num_processes: z.int() }) },
  options: [
    {
      name: "multipack",
      path: "training.dataloader.multipack",
      help: "",
      values: [{ name: "num_processes", type: "integer", default: 16, help: "" }],
    },
  ],
  activate: () => ({ augment: keepModel }),
});

const paddingFree = definePlugin({
  name: "PaddingFreeAccelerationPlugin",
  description: "No padding.",
  paths: { allOf: ["training.attention.padding_free"] },
  schemas: { "training.attention.padding_free": z.strictObject({ method: z.literal("huggingface") }) },
  options: [
    {
      name: "padding_free",
      path: "training.attention.padding_free",
      help: "",
      values: [{ name: "method", type: "string", default: "huggingface", choices: ["huggingface"], help: "" }],
    },
  ],
  activate: () => ({ augment: keepModel }),
});

const scatterMoe = definePlugin({
  name: "ScatterMoEAccelerationPlugin",
  description: "",
  paths: { allOf: ["training.moe.scattermoe"] },
  schemas: {
    "training.moe.scattermoe": z.strictObject({
      ep_degree: z.int().default(1),
      disable_distributed: z.boolean().default(false),
    }),
  },
  options: [
    {
      name: "fast_moe",
      path: "training.moe.scattermoe",
      help: "",
      values: [],
      parse: ([word = "1"]) =>
        /^\d+$/.test(word)
          ? { ep_degree: Number(word), disable_distributed: false }
          : { ep_degree: 1, disable_distributed: word === "True" || word === "true" },
    },
  ],
  activate: () => ({ augment: keepModel }),
});

/** A package with plugins, as a program registers it. */
export function registration(packageName: string, ...plugins: readonly AccelerationPlugin[]): PluginRegistration {
  const manifest = { shortname: packageName, entry: ".", paths: [], options: [] };
  return { packageName, version: "1.2.3", directory: undefined, manifest, plugins };
}

/** A plugin that is active for one path, takes anything there and does what `hooks` do. */
export function simplePlugin(
  name: string,
  path: string,
  hooks: PluginHooks = {},
  rest: Partial<AccelerationPlugin> = {},
): AccelerationPlugin {
  const schemas = { [path]: z.record(z.string(), z.unknown()) };
  return { name, description: "", paths: { allOf: [path] }, schemas, activate: () => hooks, ...rest };
}

/** In the original's order. */
export const referenceRegistrations: readonly PluginRegistration[] = [
  registration("fms_acceleration_peft", autoGptq, bnb),
  registration("fms_acceleration_foak", fastKernels),
  registration("fms_acceleration_aadp", multipack, paddingFree),
  registration("fms_acceleration_moe", scatterMoe),
];

/** A framework's options with these packages and nothing from outside. */
export function optionsOf(
  plugins: readonly PluginRegistration[],
  rest: FrameworkOptions = {},
): FrameworkOptions & { readonly environment: NodeJS.ProcessEnv } {
  return { environment: {}, checkPackages: false, ...rest, plugins: { registrations: plugins } };
}
