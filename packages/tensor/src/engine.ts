import { readFileSync } from "node:fs";
import { defaultDevice, type Device, deviceCode } from "./device.ts";
import { type MemoryStatistics, native, type WorkStatistics } from "./native.ts";
import { Tensor } from "./tensor.ts";

export type { MemoryStatistics, WorkStatistics };

export interface EngineInfo {
  /** Version of the package. */
  version: string;
  /** Version of the C ABI that plugin addons see (include/fms_accel/tensor_abi.h). */
  abiVersion: string;
  /** The instruction set in use, and those that this machine can use (`FMS_ACCEL_ISA`), best first. */
  isa: string;
  availableIsas: string[];
  /** Threads in use (`FMS_ACCEL_NUM_THREADS`). */
  threads: number;
  compiler: string;
  buildType: string;
}

export function engineInfo(): EngineInfo {
  const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };
  return { version: manifest.version, ...native.engineInfo() };
}

/** Sets the number of threads (1 to 1024). Results never depend on it. */
export function setNumThreads(threads: number): void {
  native.setNumThreads(threads);
}

/**
 * Bytes a second at which all threads together read the elements of `tensors` (contiguous) from memory, once: what bounds decoding, which
 * reads every weight for every token. Throws TensorError for a view that is not contiguous.
 */
export function readBandwidth(tensors: Iterable<Tensor>): number {
  return native.readBandwidth([...tensors].map(({ handle }) => handle));
}

/** The engine as a type-tagged N-API External: what a plugin addon's `attach` takes. */
export function engineExternal(): object {
  return native.engineExternal();
}

/** A tensor over a handle that a plugin addon allocated through the C ABI; JavaScript owns it from then on. */
export function adoptTensor(handle: number): Tensor {
  return new Tensor(native.adoptHandle(handle));
}

/** The memory of a device. */
export function memoryStats(device: Device = defaultDevice()): MemoryStatistics {
  return native.memoryStatistics(deviceCode(device));
}

/** What a device was given to do since the process began; zeros for the CPU, which nobody waits for. */
export function workStats(device: Device = defaultDevice()): WorkStatistics {
  return native.workStatistics(deviceCode(device));
}

/** Starts `peakBytes` again from what is live now. */
export function resetPeakMemory(device: Device = defaultDevice()): void {
  native.resetPeakMemory(deviceCode(device));
}

/** Gives free blocks that were kept for reuse back to the system. */
export function releaseCachedMemory(device: Device = defaultDevice()): void {
  native.releaseCachedMemory(deviceCode(device));
}
