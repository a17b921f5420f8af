/**
 * The other files test the instruction set that FMS_ACCEL_ISA names (default: the best): run them once for each of
 * `engineInfo().availableIsas` to test all of them. This one compares the instruction sets with each other.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { engineInfo } from "../src/index.ts";

interface Probe {
  isa: string;
  hashes: Record<string, string>;
}
function probe(environment: Record<string, string>): { status: number | null; stdout: string; stderr: string } {
  const script = fileURLToPath(new URL("support/isa-probe.mjs", import.meta.url));
  return spawnSync(process.execPath, [script], { env: { ...process.env, ...environment }, encoding: "utf8" });
}

test("every instruction set gives the same bits, for every number of threads", () => {
  const { availableIsas } = engineInfo();
  expect(availableIsas).toContain("portable");
  const results = availableIsas.map((isa, i): Probe => {
    const { status, stdout, stderr } = probe({ FMS_ACCEL_ISA: isa, FMS_ACCEL_NUM_THREADS: String(i + 1) });
    expect(status, stderr).toBe(0);
    return JSON.parse(stdout) as Probe;
  });
  expect(results.map(({ isa }) => isa)).toEqual(availableIsas);
  const [first, ...others] = results;
  expect(Object.keys(first?.hashes ?? {}).length).toBeGreaterThan(100);
  for (const { isa, hashes } of others) expect(hashes, `${isa} against ${first?.isa}`).toEqual(first?.hashes);
});

test("an unknown instruction set is an error that names the available ones", () => {
  const { status, stderr } = probe({ FMS_ACCEL_ISA: "sse9" });
  expect(status).not.toBe(0);
  expect(stderr).toMatch(/FMS_ACCEL_ISA=sse9: not available on this machine; choose one of .*portable/);
});
