// The cuda device itself: runs where FMS_ACCEL_TEST_DEVICE names one (vitest.config.ts).
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import {
  add,
  chooseDevice,
  crossEntropy,
  cudaStatus,
  dropout,
  embedding,
  empty,
  Generator,
  indexSelect,
  matmul,
  memoryStats,
  mul,
  randn,
  releaseCachedMemory,
  resetPeakMemory,
  scope,
  setDefaultDevice,
  sum,
  synchronize,
  tensor,
  to,
  zeros,
} from "../../src/index.ts";
import { native } from "../../src/native.ts";

const isEmulated = cudaStatus().build === "emulator";
beforeAll(() => setDefaultDevice("cuda"));

describe("tensors", () => {
  test("are made on the default device, or on the one that is named", () => {
    expect(zeros([2]).device).toBe("cuda:0");
    expect(zeros([2], { device: "cpu" }).device).toBe("cpu");
    expect(tensor([1, 2]).toString()).toBe("Tensor([2], float32, cuda:0)");
  });
  test("move between devices, with their gradients", () => {
    const x = tensor([1, 2, 3], { device: "cpu", requiresGrad: true });
    const moved = to(x, "cuda");
    expect(moved.device).toBe("cuda:0");
    sum(mul(moved, tensor([5, 6, 7]))).backward();
    expect(x.grad?.device).toBe("cpu");
    expect(x.grad?.toArray()).toEqual([5, 6, 7]);
    expect(to(moved, "cuda:0")).toBe(moved);
  });
  test("of a view are moved as they read", () => {
    const x = tensor([1, 2, 3, 4, 5, 6], { shape: [2, 3], device: "cpu" });
    expect(to(to(x, "cuda"), "cpu").toArray()).toEqual([1, 2, 3, 4, 5, 6]);
    expect(to(zeros([0, 3]), "cpu").shape).toEqual([0, 3]);
  });
  test("are copied into each other across devices", () => {
    const x = zeros([2, 2]);
    x.copyFrom(tensor([1, 2], { device: "cpu", dtype: "int32" }));
    expect(x.toArray()).toEqual([1, 2, 1, 2]);
  });
  test("larger than all pinned buffers together arrive as they left", () => {
    const values = Float32Array.from({ length: 3_000_001 }, (_, i) => i);
    const back = tensor(values).toFloat32Array();
    expect(Buffer.from(back.buffer, back.byteOffset, back.byteLength).equals(Buffer.from(values.buffer))).toBe(true);
  });
  test("of two devices do not meet in an operation", () => {
    expect(() => add(zeros([2]), zeros([2], { device: "cpu" }))).toThrow(/cuda:0 and cpu.*to\(tensor, device\)/);
  });
});

describe("names of devices", () => {
  test.each(["gpu", "cuda:", "cuda:x", "cuda:-1", ""])("%j is refused", (name) => {
    expect(() => zeros([1], { device: name })).toThrow(/expected "cpu", "cuda" or "cuda:<n>"/);
  });
  test("a device that does not exist is named with those that do", () => {
    expect(() => zeros([1], { device: "cuda:99" })).toThrow(/cuda:99 does not exist.*cuda:0/);
  });
  test("auto is the first GPU", () => {
    expect(chooseDevice("auto")).toBe("cuda:0");
    expect(chooseDevice("cpu")).toBe("cpu");
  });
});

test("dropout drops the same elements as on the CPU, and uniform numbers are the same, bit for bit", () => {
  for (const dtype of ["float32", "bfloat16", "float16"] as const) {
    const results = (["cpu", "cuda"] as const).map((device) => {
      const x = add(zeros([3, 1237], { device, dtype }), 1.5);
      return dropout(x, 0.3, new Generator(77)).toBytes();
    });
    expect(results[1]).toEqual(results[0]);
  }
});

test("the same seed gives the same bits in every run", () => {
  const run = (): Uint8Array =>
    scope(() => {
      const generator = new Generator(5);
      const weight = randn([64, 48], { generator, requiresGrad: true });
      const ids = tensor(Int32Array.from({ length: 500 }, (_, i) => (i * i) % 64));
      sum(matmul(embedding(ids, weight), randn([48, 33], { generator }))).backward();
      return weight.grad?.toBytes() as Uint8Array;
    });
  expect(run()).toEqual(run());
});

describe("indices out of range", () => {
  test("are reported when the device is waited for", () => {
    expect(() => {
      indexSelect(zeros([4, 2]), 0, tensor(Int32Array.of(0, 1, 7)));
      synchronize("cuda");
    }).toThrow("indexSelect: index 7 at [2] is out of range for size 4");
    expect(() => {
      crossEntropy(zeros([2, 3]), tensor(Int32Array.of(1, 3)));
      synchronize("cuda");
    }).toThrow("crossEntropy: label 3 of row 1 is out of range for 3 classes");
    expect(zeros([1]).toArray()).toEqual([0]); // the device lives on
  });
});

describe("memory", () => {
  test("is counted, with its peak, and given back", () => {
    const before = memoryStats("cuda").liveBytes;
    resetPeakMemory("cuda");
    scope(() => {
      empty([1 << 20]);
      expect(memoryStats("cuda").liveBytes - before).toBeGreaterThanOrEqual(4 << 20);
    });
    expect(memoryStats("cuda").liveBytes).toBe(before);
    expect(memoryStats("cuda").peakBytes - before).toBeGreaterThanOrEqual(4 << 20);
    releaseCachedMemory("cuda");
    expect(memoryStats("cuda").cachedBytes).toBe(0);
  });
  test("that runs out says what was asked for and what would help, and nothing is lost", () => {
    const x = tensor([1, 2, 3]);
    expect(() => empty([1 << 30, 1 << 10])).toThrow(
      /cuda:0 is out of memory: 4398046511104 bytes were asked for.*smaller batch/,
    );
    expect(x.toArray()).toEqual([1, 2, 3]);
  });
});

// ---- Faults and machines without a GPU: processes of their own -----------------------------------------------------------------

// Node 20 runs no TypeScript: the built package.
const entry = new URL("../../dist/index.js", import.meta.url).href;
const here = fileURLToPath(new URL(".", import.meta.url));

function runElsewhere(program: string, environment: Record<string, string>): { status: number | null; output: string } {
  const source = `const engine = await import(${JSON.stringify(entry)}); ${program}`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", source], {
    cwd: here,
    encoding: "utf8",
    env: { ...process.env, ...environment },
  });
  return { status, output: `${stdout}${stderr}` };
}

test("a fault in a kernel is an error that names the operation and the tensor; the process lives", () => {
  const x = zeros([2, 5]);
  expect(() => native.provokeFault(x.handle)).toThrow(
    /^provokeFault \(\[2, 5\] float32 on cuda:0\) failed on the device: cuda\w+: .*FMS_ACCEL_CUDA_SYNC=1.*last checkpoint/,
  );
});

describe.runIf(isEmulated)("the emulated device", () => {
  const problemOf = (environment: Record<string, string>): string => {
    const { output } = runElsewhere("console.log(engine.cudaStatus().problem)", environment);
    return output;
  };
  test.each([
    ["no driver", { CUDA_EMULATOR_DEVICES: "no-driver" }, /no NVIDIA driver was found: install one/],
    ["an old driver", { CUDA_EMULATOR_DEVICES: "old-driver" }, /supports CUDA 11\.4, this build needs 13\.0: update/],
    ["no GPU", { CUDA_EMULATOR_DEVICES: "0" }, /has no NVIDIA GPU/],
    ["CUDA_VISIBLE_DEVICES that hides all", { CUDA_VISIBLE_DEVICES: "" }, /CUDA_VISIBLE_DEVICES= shows no GPU/],
  ])("says what is wrong with %s, and what helps", (_, environment, expected) => {
    expect(problemOf(environment)).toMatch(expected);
    const { output } = runElsewhere(
      `try { engine.zeros([1], { device: "cuda" }) } catch (error) { console.log(error.constructor.name, error.message) }
       console.log(engine.zeros([1], { device: "cpu" }).toArray()[0], engine.chooseDevice("auto"))`,
      environment,
    );
    expect(output).toMatch(/TensorError device cuda:0 is not available: /);
    expect(output).toMatch(expected);
    expect(output).toMatch(/0 cpu/);
  });
  test("shows the devices that CUDA_VISIBLE_DEVICES lets through", () => {
    const { output } = runElsewhere("console.log(engine.cudaStatus().devices.length)", { CUDA_VISIBLE_DEVICES: "1" });
    expect(output.trim()).toBe("1");
    expect(cudaStatus().devices).toHaveLength(2);
  });
  test("has a second device, to which tensors move", () => {
    const x = to(tensor([4, 5], { device: "cuda:0" }), "cuda:1");
    expect(x.device).toBe("cuda:1");
    expect(add(x, x).device).toBe("cuda:1");
    expect(to(add(x, x), "cuda:0").toArray()).toEqual([8, 10]);
  });
  test("keeps freed blocks for reuse where the cache is on", () => {
    const { output } = runElsewhere(
      `engine.scope(() => { engine.empty([1000], { device: "cuda" }) });
       const cached = engine.memoryStats("cuda").cachedBytes;
       engine.scope(() => { engine.empty([1000], { device: "cuda" }); console.log(cached, engine.memoryStats("cuda").cachedBytes) });`,
      { FMS_ACCEL_CUDA_CACHE: "1" },
    );
    expect(output.trim()).toBe("4096 0");
  });
  test("gives cached blocks back before it reports that memory has run out", () => {
    const { output } = runElsewhere(
      `for (const size of [600, 700, 800]) engine.scope(() => { engine.empty([size << 10, 256], { device: "cuda" }) });
       console.log("ok")`,
      { FMS_ACCEL_CUDA_CACHE: "1", CUDA_EMULATOR_MEMORY: String(1 << 30) },
    );
    expect(output.trim()).toBe("ok");
  });
});
