import type { Generator } from "@fms-accel/tensor";

export interface AdapterOptions {
  /** Default "default". */
  readonly adapterName?: string | undefined;
  /** Keep A and B in float32 where the base has less precision. Default true, as in PEFT. */
  readonly autocastAdapterDType?: boolean | undefined;
  /** Is told what was ignored or may surprise. Default: process.emitWarning. */
  readonly onWarning?: ((message: string) => void) | undefined;
}

export interface NewAdapterOptions extends AdapterOptions {
  /** Where the initial values come from. Default: the tensor engine's generator. */
  readonly generator?: Generator | undefined;
}

export interface LoadAdapterOptions extends AdapterOptions {
  /** Whether the adapter's parameters require gradients. Default false. */
  readonly isTrainable?: boolean | undefined;
}

export interface SaveAdapterOptions {
  /** Names of the adapters to save. Default: all. */
  readonly selectedAdapters?: readonly string[] | undefined;
}

export interface SaveMergedOptions {
  /** Names of the adapters to merge. Default: the active ones. */
  readonly names?: readonly string[] | undefined;
  /** Largest size of a weight file, such as "5GB" (decimal units); default "5GB". */
  readonly maxShardSize?: string | number | undefined;
}
