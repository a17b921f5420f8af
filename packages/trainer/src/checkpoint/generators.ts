import { join } from "node:path";
import { defaultGenerator, type GeneratorState } from "@fms-accel/tensor";
import type { Communicator } from "../communicator.ts";
import { checkpointFiles, readJson, rngStateSchema, writeJson } from "./files.ts";

/** Words of 32 bits that a state is sent in: seed and offset have two each. */
const WORDS = 4;

/** The states of the default generators of all ranks, on every rank: dropout draws other numbers, and as many as its batches are long, on each. */
export async function gatherGenerators(communicator: Communicator): Promise<GeneratorState[]> {
  const { rank, size } = communicator;
  const { seed, offset } = defaultGenerator.state();
  if (size === 1) return [{ seed, offset }];
  // A sum with zeros in the places of the others gathers. Float64 is exact for 32 bits without a sign.
  const words = new Float64Array(WORDS * size);
  for (const [index, value] of [seed, offset].entries()) {
    words[WORDS * rank + 2 * index] = Number(value & 0xffff_ffffn);
    words[WORDS * rank + 2 * index + 1] = Number(value >> 32n);
  }
  await communicator.allReduce(words, "sum");
  const read = (at: number): bigint => BigInt(words[at]!) | (BigInt(words[at + 1]!) << 32n);
  return Array.from({ length: size }, (_, one) => ({ seed: read(WORDS * one), offset: read(WORDS * one + 2) }));
}

/** Writes `rng_state.json`, or `rng_state_<rank>.json` for each of several ranks, as Hugging Face names them. */
export function writeGenerators(directory: string, states: readonly GeneratorState[]): void {
  for (const [rank, { seed, offset }] of states.entries()) {
    const value = { algorithm: "philox4x32-10", seed: String(seed), offset: String(offset) };
    writeJson(join(directory, fileName(rank, states.length)), value);
  }
}

/**
 * Puts the default generator back where it was on this rank.
 *
 * @param written ranks of the run that wrote the checkpoint; where this one has another number of them (ignore_data_skip), all go on as rank 0 stood
 */
export function readGenerator(
  directory: string,
  { rank, size }: Pick<Communicator, "rank" | "size">,
  written: number,
): void {
  const name = fileName(size === written ? rank : 0, written);
  const { seed, offset } = readJson(join(directory, name), rngStateSchema);
  defaultGenerator.setState({ seed: BigInt(seed), offset: BigInt(offset) });
}

function fileName(rank: number, ranks: number): string {
  return ranks === 1 ? checkpointFiles.rngState : checkpointFiles.rngState.replace(".json", `_${rank}.json`);
}
