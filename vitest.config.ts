import { defineConfig } from "vitest/config";

// Tests run on the TypeScript sources: the "@fms-accel/source" condition of every package points at src, so no build is needed.
const conditions = ["@fms-accel/source", "module", "node", "import", "default"];

// FMS_ACCEL_TEST_DEVICE=cuda makes the tensors of the same tests on a GPU; with FMS_ACCEL_CUDA_EMULATOR=1, on an emulated one.
const onDevice = Boolean(process.env.FMS_ACCEL_TEST_DEVICE);
const setupFiles = onDevice ? ["packages/tensor/test/support/default-device.ts"] : [];
// Tests of the device itself, which the CPU is not.
const exclude = onDevice ? [] : ["packages/*/test/cuda/**"];
// Tests of the library that stands in for cuBLASLt, packages/tensor/build/Release/libfake_cublaslt.so.
if (!process.env.FMS_ACCEL_CUBLASLT?.includes("fake")) exclude.push("packages/tensor/test/cuda/cublaslt.test.ts");

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["packages/*/test/**/*.test.ts", "packages-private/*/test/**/*.test.ts"],
    exclude: ["**/node_modules/**", ...exclude],
    setupFiles,
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 60_000,
  },
});
