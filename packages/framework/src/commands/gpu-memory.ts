import { chooseDevice, cudaStatus } from "@fms-accel/tensor";
import { UsageError } from "../errors.ts";
import type { MachineMemory } from "./machine-memory.ts";

const sizes: Readonly<Record<string, number>> = {
  "": 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
};

/**
 * Bytes of `80GiB`, `24 GB` or `8000000000`.
 * @throws {UsageError} for another text
 */
export function parseBytes(text: string, flag: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([KMG]i?B)?\s*$/i.exec(text);
  const bytes = match === null ? 0 : Math.floor(Number(match[1]) * (sizes[(match[2] ?? "").toUpperCase()] ?? 1));
  if (bytes > 0) return bytes;
  throw new UsageError(`${flag} is ${JSON.stringify(text)}: expected a size such as 80GiB, 24GB or 8000000000`);
}

/**
 * The memory of the GPU that a run is meant for, or `undefined` for a run on the CPU.
 *
 * @param device as `--device` names it
 * @param given `--device_memory`: of a GPU that this machine need not have, all of it free; it makes the run one on a GPU
 * @throws {UsageError} when the device cannot be used and its memory is not given
 */
export function gpuMemory(device: string, given: string | null): MachineMemory | undefined {
  if (given !== null) {
    const totalBytes = parseBytes(given, "--device_memory");
    return { totalBytes, availableBytes: totalBytes, limitedByGroup: false, gpu: "the GPU" };
  }
  const { problem, devices } = cudaStatus();
  if (device !== "cpu" && device !== "auto" && problem !== "") {
    throw new UsageError(`--device ${device}: ${problem}. For a GPU of another machine, give --device_memory 80GiB.`);
  }
  const chosen = chooseDevice(device);
  const found = chosen === "cpu" ? undefined : devices[Number(chosen.slice("cuda:".length))];
  if (found === undefined) return undefined;
  return {
    totalBytes: found.totalBytes,
    availableBytes: found.freeBytes,
    limitedByGroup: false,
    gpu: `${chosen} (${found.name})`,
  };
}
