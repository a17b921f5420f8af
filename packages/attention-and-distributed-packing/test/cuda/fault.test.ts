/** The emulator lets the second launch of this process fail; the device is lost to it then. */
import { cudaStatus, tensor, zeros } from "@fms-accel/tensor";
import { expect, test } from "vitest";
import { variableLengthAttention } from "../../src/ops/variable-length-attention.ts";

test.runIf(cudaStatus().build === "emulator")(
  "a fault in a kernel is an error that names the operation, its shapes and the remedy",
  () => {
    process.env.CUDA_EMULATOR_FAULT = "2";
    const values = new Float32Array(6 * 2 * 16);
    const q = tensor(values, { shape: [6, 2, 16] });
    const k = tensor(values.subarray(0, 96), { shape: [6, 1, 16] });
    const cuSeqlens = tensor(Int32Array.of(0, 6), { dtype: "int32" });
    const attend = () => variableLengthAttention(q, k, k, cuSeqlens);
    // In the second kernel; after that in the first call of the device.
    for (const _ of [1, 2]) {
      expect(attend).toThrow(
        /^variableLengthAttention \(q \[6, 2, 16\] float32 on cuda:0, k \[6, 1, 16\] .*\) failed on the device: cuda\w+: .*FMS_ACCEL_CUDA_SYNC=1/,
      );
    }
    expect(zeros([2], { device: "cpu" }).toArray()).toEqual([0, 0]);
  },
);
