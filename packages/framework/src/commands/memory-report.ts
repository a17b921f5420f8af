import { formatBytes, formatCount } from "../terminal/numbers.ts";
import type { MachineMemory } from "./machine-memory.ts";
import type { MemoryEstimate, MemoryVariant } from "./memory-estimate.ts";

/** The estimate as lines of a table: a row for each part, a column for each way to train. */
export function memoryTable(estimate: MemoryEstimate): string[] {
  const { chosen, other, shape, machine, logits, mappedWeights } = estimate;
  const [plain, checkpointed] = chosen.gradientCheckpointing ? [other, chosen] : [chosen, other];
  const { total, trainable } = chosen.parameters;
  const share = ((100 * trainable) / total).toPrecision(3);
  const products = estimate.autocast === null ? "" : `, products in ${estimate.autocast}`;
  const row = (name: string, of: (variant: MemoryVariant) => string): string =>
    `${name.padEnd(26)}${of(plain).padStart(14)}${of(checkpointed).padStart(26)}`;
  const bytes = (name: string, of: (variant: MemoryVariant) => number): string =>
    row(name, (variant) => formatBytes(of(variant)));
  return [
    `${estimate.architecture}: ${formatCount(total)} parameters in ${estimate.dtype}${products}; ${formatCount(trainable)} trained (${share} %, ${estimate.method})`,
    `batches of ${formatCount(shape.rows)} × ${formatCount(shape.width)} tokens`,
    "",
    `${"".padEnd(26)}${"".padStart(14)}${"gradient checkpointing".padStart(26)}`,
    bytes("weights", ({ weights }) => weights),
    ...(mappedWeights > 0 ? [bytes("  of them in the file", () => mappedWeights)] : []),
    bytes("gradients", ({ gradients }) => gradients),
    bytes("optimiser", ({ optimizer }) => optimizer),
    bytes("activations", ({ activations }) => activations),
    bytes("tensors at the peak", ({ peak }) => peak),
    bytes("resident, about", ({ resident }) => resident),
    row("fits", ({ fits }) => (fits ? "yes" : "no")),
    "",
    `Logits of a batch would take ${formatBytes(logits.full)}; a chunk of them, ${formatBytes(logits.held)}, is held at a time.`,
    `${ownerOf(machine)} ${formatBytes(machine.totalBytes)}, ${formatBytes(machine.availableBytes)} of it are free.`,
  ];
}

function ownerOf({ gpu, limitedByGroup }: MachineMemory): string {
  if (gpu !== undefined) return `${gpu[0]?.toUpperCase()}${gpu.slice(1)} has`;
  return limitedByGroup ? "The control group allows" : "The machine has";
}

/** The estimate in one line, and a second one when it does not fit. */
export function memoryLines({ chosen, other, machine, shape }: MemoryEstimate): string[] {
  const parts = [
    `weights ${formatBytes(chosen.weights)}`,
    `gradients ${formatBytes(chosen.gradients)}`,
    `optimiser ${formatBytes(chosen.optimizer)}`,
    `activations ${formatBytes(chosen.activations)}`,
  ].join(", ");
  const line = `Memory: about ${formatBytes(chosen.resident)} (${parts}; batches of ${shape.rows} × ${shape.width} tokens); ${formatBytes(machine.availableBytes)} are free${machine.gpu === undefined ? "" : ` on ${machine.gpu}`}.`;
  if (chosen.fits) return [line];
  const advice =
    chosen.gradientCheckpointing || other.resident >= chosen.resident
      ? "A smaller --per_device_train_batch_size with more --gradient_accumulation_steps, a smaller --max_seq_length or --peft_method lora takes less."
      : `--gradient_checkpointing would take ${formatBytes(other.resident)}; a smaller --per_device_train_batch_size takes less too.`;
  const end = machine.gpu === undefined ? "the system would end the run" : "the run would end with an error";
  return [line, `That may be more than there is, and ${end}. ${advice}`];
}
