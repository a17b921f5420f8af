// Runs the native tests: GEMM on every instruction set of this machine, the thread pool, and what keeps instruction sets apart.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { engineInfo } from "../src/index.ts";

const build = fileURLToPath(new URL("../build", import.meta.url));

interface Run {
  status: number | null;
  output: string;
}

function run(program: string, args: readonly string[] = [], env: Record<string, string> = {}): Run {
  const path =
    [join(build, "Release", program), join(build, program)].find((candidate) => existsSync(candidate)) ?? program;
  const { status, stdout, stderr } = spawnSync(path, args, { encoding: "utf8", env: { ...process.env, ...env } });
  return { status, output: `${stdout}${stderr}` };
}

beforeAll(() => {
  execFileSync("cmake", ["--build", build, "--config", "Release", "--target", "native_tests"], { stdio: "pipe" });
}, 600_000);

describe("native GEMM against sums in double", () => {
  test.each(engineInfo().availableIsas)(
    "%s",
    (isa) => {
      const { status, output } = run("native_gemm_test", [isa]);
      expect(output).toMatch(/\d+ checks, 0 failures/);
      expect(status).toBe(0);
    },
    300_000,
  );
});

test("thread pool", () => {
  const { status, output } = run("native_thread_pool_test");
  expect(output).toContain("thread pool: 0 failures");
  expect(status).toBe(0);
});

test("FMS_ACCEL_NUM_THREADS that is no number is refused", () => {
  const { status, output } = run("native_thread_pool_test", [], { FMS_ACCEL_NUM_THREADS: "many" });
  expect(status).not.toBe(0);
  expect(output).toContain("FMS_ACCEL_NUM_THREADS=many: expected a whole number from 1 to 1024");
});

// An inline function that two instruction sets both emit would be linked once, for everybody: code that the machine may not
// run. So objects of kernels may share nothing but C++'s personality routine.
test("kernels of an instruction set define weak symbols in their own namespace only", () => {
  let objects = 0;
  for (const isa of ["portable", "avx2", "avx512", "avx512_bf16"]) {
    const folder = join(build, "CMakeFiles", `fms_accel_kernels_${isa}.dir`, "native", "cpu");
    if (!existsSync(folder)) continue;
    for (const file of readdirSync(folder)) {
      objects += 1;
      const symbols = execFileSync("nm", ["--demangle", "--defined-only", join(folder, file)], { encoding: "utf8" });
      const shared = symbols
        .split("\n")
        .filter((line) => / [WVuw] /.test(line) && !line.includes(`fms_accel::${isa}::`) && !line.includes("DW.ref."));
      expect(shared, file).toEqual([]);
    }
  }
  expect(objects).toBeGreaterThan(0);
});
