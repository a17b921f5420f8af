// Vitest's setup where FMS_ACCEL_TEST_DEVICE names a device: the same tests make their tensors there.
import { setDefaultDevice } from "../../src/index.ts";

const device = process.env.FMS_ACCEL_TEST_DEVICE;
if (device !== undefined) setDefaultDevice(device);
