import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { adoptTensor, engineExternal, engineInfo, memoryStats, tensor, TensorError } from "../src/index.ts";

interface Plugin {
  attach(engine: object): void;
  twice(handle: number): number;
  allocateNegative(): string;
}
const plugin = createRequire(import.meta.url)(
  fileURLToPath(new URL("../build/Release/abi_plugin.node", import.meta.url)),
) as Plugin;

test("a plugin addon shares the engine's tensors and threads through the C ABI", () => {
  plugin.attach(engineExternal());
  const x = tensor(
    Float32Array.from({ length: 5000 }, (_, i) => i),
    { device: "cpu" },
  );
  const live = memoryStats("cpu").liveBytes;
  const y = adoptTensor(plugin.twice(x.handle));
  expect(memoryStats("cpu").liveBytes).toBe(live + 5000 * 4);
  expect(y.toArray()).toEqual(Array.from({ length: 5000 }, (_, i) => 2 * i));
  y.dispose();
  x.dispose();
});

test("foreign objects, stale handles and bad shapes are refused with a message", () => {
  expect(() => plugin.attach({})).toThrow("not the External of @fms-accel/tensor");
  plugin.attach(engineExternal());
  const x = tensor([1, 2, 3]);
  x.dispose();
  expect(() => plugin.twice(x.handle)).toThrow("was disposed");
  expect(() => plugin.twice(2 ** 52)).toThrow("was disposed");
  expect(plugin.allocateNegative()).toContain("negative size in shape [-1]");
  expect(() => adoptTensor(x.handle)).toThrow(TensorError);
});

test("the ABI version is reported", () => {
  expect(engineInfo().abiVersion).toMatch(/^1\.\d+$/);
});
