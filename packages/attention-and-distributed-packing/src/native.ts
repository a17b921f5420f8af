/** The native addon, typed by hand: the only file that knows its functions. Tensors cross as handles. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { type DType, engineExternal, engineInfo, TensorError } from "@fms-accel/tensor";

type Handle = number;

/** Settings of a call, in the order of the addon's arguments; 0 stands for no soft cap and no window. */
export type AttentionSettings = readonly [
  scale: number,
  softCap: number,
  isCausal: boolean,
  window: number,
  inBFloat16: boolean,
  dtype: DType,
];

export interface AttentionAddon {
  /** How the kernels of the cuda device were built: "cuda", "emulator", or "none" where nvcc was not found. */
  readonly cudaBuild: string;
  /** Hands over the engine's function table, the instruction set to use and the class of errors. */
  attach(engine: object, isa: string, errorClass: typeof TensorError): void;
  variableLengthAttention(
    q: Handle,
    k: Handle,
    v: Handle,
    cuSeqlens: Handle,
    ...settings: AttentionSettings
  ): [out: Handle, lse: Handle];
  variableLengthAttentionGradients(
    q: Handle,
    k: Handle,
    v: Handle,
    cuSeqlens: Handle,
    out: Handle,
    lse: Handle,
    outGradient: Handle,
    ...settings: AttentionSettings
  ): [q: Handle, k: Handle, v: Handle];
}

let loaded: AttentionAddon | undefined;

/**
 * The addon, loaded when it is first needed: what needs no kernels works without it.
 *
 * @throws TensorError when it is not built, or built for another platform
 */
export function nativeAddon(): AttentionAddon {
  loaded ??= load();
  return loaded;
}

/** As the engine's, by FMS_ACCEL_CUDA_EMULATOR: with kernels for the device that it emulates, or for a GPU. */
function addonName(): string {
  const emulator = process.env.FMS_ACCEL_CUDA_EMULATOR ?? "";
  const variant = emulator === "1" ? "_emulated" : emulator === "checked" ? "_checked" : "";
  return `fms_accel_attention_and_distributed_packing${variant}.node`;
}

function load(): AttentionAddon {
  const path = fileURLToPath(new URL(`../build/Release/${addonName()}`, import.meta.url));
  if (!existsSync(path)) {
    throw new TensorError(
      `the kernels of variable-length attention are not built (${path} is missing): run "npx fms-accel build". ` +
        "It needs g++ (or clang++), make and cmake; on Debian: apt-get install g++ make cmake",
    );
  }
  try {
    const addon = createRequire(import.meta.url)(path) as AttentionAddon;
    addon.attach(engineExternal(), engineInfo().isa, TensorError);
    return addon;
  } catch (error) {
    throw new TensorError(
      `the kernels of variable-length attention could not be loaded from ${path}: ${(error as Error).message}. ` +
        'They were built for another platform or version: run "npx fms-accel build --force"',
      { cause: error },
    );
  }
}
