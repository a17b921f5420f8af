import { recordOperation } from "../autograd/tape.ts";
import { checkDevice, type Device, deviceCode } from "../device.ts";
import { native } from "../native.ts";
import { Tensor } from "../tensor.ts";

/** x on another device, as a contiguous copy; x itself where it lies there. Throws TensorError when the device cannot be used. */
export function to(x: Tensor, device: Device): Tensor {
  const target = checkDevice(device);
  if (x.device === target) return x;
  return recordOperation("to", new Tensor(native.toDevice(x.handle, deviceCode(target))), [x], [], (g) => [
    to(g, x.device),
  ]);
}
