import { TensorError } from "./errors.ts";
import { native } from "./native.ts";

/** Where a tensor lies: "cpu", or "cuda:0" and so on. "cuda" is accepted for "cuda:0". */
export type Device = string;

/** A GPU as the driver describes it. */
export interface CudaDevice {
  readonly name: string;
  /** The compute capability: "9.0". */
  readonly capability: string;
  readonly multiprocessors: number;
  readonly totalBytes: number;
  readonly freeBytes: number;
}

export interface CudaStatus {
  /** What is compiled in: "none", "cuda 13.0", or "emulator". */
  readonly build: string;
  /** Compute capabilities that kernels were compiled for. */
  readonly architectures: string;
  /** 1000 * major + 10 * minor; 0 is none. */
  readonly driverVersion: number;
  readonly runtimeVersion: number;
  readonly devices: readonly CudaDevice[];
  /** The version of cuBLASLt, or why it is not used; empty where there is no device. */
  readonly cublasLt: string;
  /** Why there is no device, and what would help; empty when there is one. */
  readonly problem: string;
}

/** What is known of CUDA on this machine. Never throws. */
export function cudaStatus(): CudaStatus {
  return native.cudaStatus();
}

/** The number of a device at the native boundary: 0 is the CPU, n + 1 is cuda:n. Throws TensorError for another name. */
export function deviceCode(device: Device): number {
  if (device === "cpu") return 0;
  const match = /^cuda(?::(\d{1,3}))?$/.exec(device);
  if (match === null)
    throw new TensorError(`device ${JSON.stringify(device)} is not known; expected "cpu", "cuda" or "cuda:<n>"`);
  return Number(match[1] ?? 0) + 1;
}

/** The name of a device by its native type and index. */
export function deviceName(type: number, index: number): Device {
  return type === 1 ? "cpu" : `cuda:${index}`;
}

/** The device's full name ("cuda" is "cuda:0"), after making sure that it can be used. Throws TensorError with the remedy. */
export function checkDevice(device: Device): Device {
  const code = deviceCode(device);
  if (code === 0) return "cpu";
  native.requireDevice(code);
  return `cuda:${code - 1}`;
}

/** "auto" is the first GPU where one can be used, else the CPU; another name is checked. Throws TensorError with the remedy. */
export function chooseDevice(device: Device): Device {
  if (device !== "auto") return checkDevice(device);
  return cudaStatus().problem === "" ? "cuda:0" : "cpu";
}

let current: Device = "cpu";

/** Where tensors are made when no device is named: "cpu" at first. */
export function defaultDevice(): Device {
  return current;
}

/** Sets where tensors are made when no device is named. Throws TensorError when that device cannot be used. */
export function setDefaultDevice(device: Device): void {
  current = checkDevice(device);
}

/**
 * Waits for all work on a device; the CPU has none. Throws TensorError when something went wrong in it, such as an index out of range:
 * a GPU reports that later than the operation.
 */
export function synchronize(device: Device = current): void {
  native.synchronize(deviceCode(device));
}
