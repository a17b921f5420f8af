// The emulator names the fault of every broken kernel, and none of the right ones. The program is built twice: as the tests use the
// emulator, and with its detector of races and of accesses out of bounds.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "cuda-emulator-"));
afterAll(() => rmSync(folder, { recursive: true }));

const compiler = process.env.CXX ?? "g++";
const flags = [
  "-std=c++20",
  "-O1",
  "-g1",
  "-fno-strict-aliasing",
  "-fno-threadsafe-statics",
  "-I",
  join(root, "include"),
];
const sources = ["checks", "collectives", "fibers", "graphs", "runtime", "tensor_core"].map((name) =>
  join(root, "src", `${name}.cc`),
);

/** Builds and runs the program: what it says of each kernel. */
function run(name: string, withChecks: boolean, environment: Record<string, string> = {}): Map<string, string> {
  const program = join(folder, name);
  const kernels = `${program}.o`;
  execFileSync(compiler, [
    ...flags,
    ...(withChecks ? ["-fsanitize=thread", "-fsanitize=alignment"] : []),
    "-c",
    join(root, "test", "broken_kernels.cc"),
    "-o",
    kernels,
  ]);
  execFileSync(compiler, [
    ...flags,
    ...(withChecks ? ["-DCUDA_EMULATOR_CHECKS"] : []),
    kernels,
    ...sources,
    "-ldl",
    "-o",
    program,
  ]);
  const output = execFileSync(program, { encoding: "utf8", env: { ...process.env, ...environment } });
  const lines = [...output.matchAll(/^(\w+(?:, when freed)?): (.*(?:\n {2}.*)*)$/gm)];
  return new Map(lines.map(([, kernel, fault]) => [kernel ?? "", fault ?? ""]));
}

const RIGHT = [
  "barrier_between",
  "early_exit_before_barrier",
  "syncwarp_within_warp",
  "spin_on_atomic",
  "atomics_of_blocks",
  "waited_copy",
  "ring_of_copies",
];
const BROKEN: Record<string, RegExp> = {
  divergent_barrier: /divergent barrier: .*broken_kernels\.cc:\d+ but others are at/,
  lanes_at_two_shuffles: /divergent warp operation/,
  lane_skips_shuffle: /deadlock[^]*threads 0-4,6-31: waiting in __shfl_xor_sync/,
  exited_lane_in_mask: /deadlock[^]*threads 31: exited[^]*threads 0-30: waiting in __shfl_down_sync/,
  shuffle_from_outside_of_mask: /reads lane 20, which is not in the mask/,
  endless_spin: /a spin loop waits for something that does not happen/,
  trap: /block \(0,0,0\) thread \(0,0,0\): __trap/,
  copy_never_waited_for: /asynchronous copies that it never waited for/,
  misaligned_copy: /not aligned to the copy/,
  misaligned_ldmatrix: /not aligned to 16 bytes/,
  uninitialised_shared: /__trap/,
};
const RACES: Record<string, RegExp> = {
  read_before_wait:
    /reads \(broken_kernels\.cc:\d+\) what a copy is still bringing: cp\.async at broken_kernels\.cc:\d+/,
  wrong_group_waited_for: /reads \(.*\) what a copy is still bringing/,
  stage_refilled_while_read: /race on shared memory|what a copy is still bringing/,
  shared_race: /race on shared memory: thread \d+ writes \(broken_kernels\.cc:\d+\) what thread \d+ read/,
  shuffle_orders_no_memory: /race on shared memory/,
  race_of_blocks: /race on device memory: thread 0 writes .* of another block wrote/,
};
const OVERRUNS: Record<string, RegExp> = {
  misaligned_vector: /access at .*broken_kernels\.cc:\d+: the address is not aligned to 16 bytes/,
  write_past_device_memory:
    /write of 4 bytes at broken_kernels\.cc:\d+ out of bounds: offset 4096 of a block of 4096 bytes/,
  read_past_device_memory: /read of 4 bytes at .* out of bounds: offset 4096/,
  write_past_shared_variable: /out of bounds: a SHARED\(\) variable/,
  write_past_dynamic_shared: /out of bounds: dynamic shared memory of 512 bytes/,
};

describe("as the tests use it", () => {
  let faults: Map<string, string>;
  beforeAll(() => {
    faults = run("plain", false);
  }, 300_000);
  test.each(RIGHT)("%s is right", (kernel) => expect(faults.get(kernel)).toBe("none"));
  test.each([
    ...Object.entries(BROKEN),
    ...["read_before_wait", "wrong_group_waited_for"].map((kernel) => [kernel, /__trap/] as const),
  ])("%s is noticed", (kernel, fault) => {
    expect(faults.get(kernel)).toMatch(fault);
  });
  test("a write past device memory is noticed when it is freed", () => {
    expect(faults.get("write_past_device_memory, when freed")).toBe("the block was overrun");
  });
});

describe("with its checks", () => {
  let faults: Map<string, string>;
  beforeAll(() => {
    faults = run("checked", true);
  }, 300_000);
  test.each(RIGHT)("%s is right", (kernel) => expect(faults.get(kernel)).toBe("none"));
  test.each(Object.entries({ ...BROKEN, ...RACES, ...OVERRUNS }))("%s is noticed", (kernel, fault) => {
    expect(faults.get(kernel)).toMatch(fault);
  });
});
