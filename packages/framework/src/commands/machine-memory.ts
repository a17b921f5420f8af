import { freemem, totalmem } from "node:os";

/** Memory that this process may use. */
export interface MachineMemory {
  readonly totalBytes: number;
  readonly availableBytes: number;
  /** Whether a control group (a container, a systemd unit) allows less than the machine has. */
  readonly limitedByGroup: boolean;
  /** The GPU whose memory this is; `undefined` for the machine's own. */
  readonly gpu?: string;
}

/** Where the numbers come from; tests give their own. */
export interface MemorySource {
  readonly machineBytes: number;
  readonly machineAvailable: number;
  /** The control group's limit; 0, or more than the machine has, where there is none. */
  readonly groupLimit: number;
  /** What is left of that limit, or of the machine. */
  readonly groupAvailable: number;
}

const realSource = (): MemorySource => ({
  machineBytes: totalmem(),
  machineAvailable: freemem(),
  groupLimit: process.constrainedMemory(),
  groupAvailable: process.availableMemory(),
});

/** The machine's memory, or the control group's where that is less. */
export function machineMemory(source: MemorySource = realSource()): MachineMemory {
  const { machineBytes, machineAvailable, groupLimit, groupAvailable } = source;
  const limitedByGroup = groupLimit > 0 && groupLimit < machineBytes;
  return {
    totalBytes: limitedByGroup ? groupLimit : machineBytes,
    availableBytes: limitedByGroup ? Math.min(groupAvailable, machineAvailable) : machineAvailable,
    limitedByGroup,
  };
}
