import { chooseDevice, cudaStatus, type Device } from "@fms-accel/tensor";
import { printLine, type Terminal } from "../cli/terminal.ts";

/**
 * The device that `--device` names: "cpu", "cuda", "cuda:<n>", or "auto", the first GPU where one can be used and the CPU elsewhere. Says which
 * GPU it is, so that the choice of "auto" is seen.
 * @throws TensorError with the remedy when the device cannot be used
 */
export function useDevice(wanted: string, terminal: Terminal): Device {
  const device = chooseDevice(wanted);
  if (wanted === "auto" || device !== "cpu") {
    const gpu = device === "cpu" ? undefined : cudaStatus().devices[Number(device.slice("cuda:".length))];
    printLine(terminal.notes, terminal.noteColors.dim(`device: ${device}${gpu === undefined ? "" : ` (${gpu.name})`}`));
  }
  return device;
}
