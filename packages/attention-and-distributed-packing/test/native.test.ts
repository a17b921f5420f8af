import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { engineExternal, engineInfo, TensorError } from "@fms-accel/tensor";
import { expect, test } from "vitest";
import { nativeAddon } from "../src/native.ts";

test("the addon is loaded once", () => {
  expect(nativeAddon()).toBe(nativeAddon());
});

test("it takes the engine, and kernels that it has, and nothing else", () => {
  const { isa } = engineInfo();
  const attach = (...values: unknown[]) =>
    (nativeAddon().attach as unknown as (...values: unknown[]) => void)(...values);
  expect(() => attach({}, isa, TensorError)).toThrow("not the External of @fms-accel/tensor");
  expect(() => attach()).toThrow(TensorError);
  expect(() => attach(engineExternal(), "sse9", TensorError)).toThrow("without kernels for the instruction set sse9");
  expect(() => attach(engineExternal(), isa)).toThrow("a class of errors");
});

// An inline function that two instruction sets both emit would be linked once, for everybody: code that the machine may not run.
test("kernels of an instruction set define weak symbols in their own namespace only", () => {
  const build = fileURLToPath(new URL("../build/CMakeFiles", import.meta.url));
  let objects = 0;
  for (const isa of ["portable", "avx2", "avx512", "avx512_bf16"]) {
    const folder = join(build, `attention_kernels_${isa}.dir`, "native", "cpu");
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
