// Work recorded once and replayed: the same bits as without, what may not be recorded, and whose memory is whose.
import { beforeAll, describe, expect, test } from "vitest";
import {
  add,
  AdamW,
  CaptureError,
  clipGradients,
  clipGradNorm,
  crossEntropy,
  CudaGraph,
  cudaStatus,
  defaultGenerator,
  dropout,
  embedding,
  Generator,
  keep,
  linear,
  manualSeed,
  memoryStats,
  mul,
  Parameter,
  rand,
  randn,
  reshape,
  scope,
  setDefaultDevice,
  sum,
  synchronize,
  tensor,
  Tensor,
  workStats,
  zeros,
} from "../../src/index.ts";

beforeAll(() => setDefaultDevice("cuda"));

const bits = (x: Tensor): number[] => [...new Uint32Array(x.toFloat32Array().buffer)];

describe("CudaGraph", () => {
  test("computes from what lies in its inputs when it is replayed, and nothing when it is captured", () => {
    const x = tensor([1, 2, 3]);
    const before = workStats("cuda");
    using graph = CudaGraph.capture(() => add(mul(x, 2), tensor([10, 20, 30])));
    expect(workStats("cuda").launches).toBe(before.launches);
    expect(graph.kernels).toBe(2);
    expect(graph.nodes).toBe(3); // the constant is copied by every replay
    expect(graph.replay().toFloat32Array()).toEqual(Float32Array.of(12, 24, 36));
    x.copyFrom(Float32Array.of(5, 6, 7));
    const launches = workStats("cuda").launches;
    graph.replay();
    expect(workStats("cuda").launches).toBe(launches);
    expect(workStats("cuda").graphLaunches).toBe(before.graphLaunches + 2);
    expect(graph.output.toFloat32Array()).toEqual(Float32Array.of(20, 32, 44));
  });

  test("draws on as the generator does, dropout and its gradient included", () => {
    const x = randn([40, 7]);
    const steps = (run: () => Tensor): number[][] => {
      manualSeed(11);
      rand([3]);
      return Array.from({ length: 3 }, () => [...bits(run()), Number(defaultGenerator.state().offset)]);
    };
    const body = (): Tensor => {
      const leaf = x.detach();
      leaf.requiresGrad = true;
      sum(mul(dropout(leaf, 0.3), dropout(leaf, 0.6))).backward();
      const gradient = leaf.grad as Tensor;
      return add(gradient, rand([40, 7]));
    };
    const expected = steps(() => scope(body));
    manualSeed(5);
    rand([9]);
    const start = defaultGenerator.state();
    using graph = CudaGraph.capture(body);
    expect(defaultGenerator.state()).toEqual(start);
    expect(steps(() => graph.replay())).toEqual(expected);
  });

  test.each([1e-3, 1e6])(
    "trains as without it, bit for bit, clipped at %d: rates and counts are those of the replay",
    (maxNorm) => {
      const train = (captures: boolean): number[][] => {
        const generator = new Generator(3);
        manualSeed(9);
        const weights = [new Parameter(randn([5, 8], { generator })), new Parameter(randn([6, 5], { generator }))];
        const [first, second] = weights as [Parameter, Parameter];
        const optimizer = new AdamW([{ params: [first] }, { params: [second], weightDecay: 0.2 }]);
        const x = zeros([4, 8]);
        const labels = tensor(Int32Array.of(0, 1, 2, 3));
        const body = (): Tensor => {
          const loss = crossEntropy(linear(dropout(linear(x, first), 0.25), second), labels, { reduction: "sum" });
          loss.backward();
          const outcome = clipGradients(weights, maxNorm, reshape(loss.detach(), [1]));
          optimizer.step(outcome);
          optimizer.zeroGrad();
          return add(outcome, loss.detach());
        };
        let graph: CudaGraph<Tensor> | undefined;
        const seen: number[][] = [];
        for (let step = 0; step < 6; step++) {
          x.copyFrom(randn([4, 8], { generator }));
          optimizer.lr = 0.1 / (step + 1);
          if (captures && step === 2) graph = CudaGraph.capture(body);
          seen.push(bits(scope(() => (graph === undefined ? body() : add(graph.replay(), 0)))));
        }
        seen.push(
          ...weights.map(bits),
          [...optimizer.stateDict().values()].map(({ step }) => step),
        );
        graph?.dispose();
        optimizer.dispose();
        return seen;
      };
      expect(train(true)).toEqual(train(false));
    },
  );

  test("refuses what the host would take part in, says why, and leaves everything as it was", () => {
    const x = tensor([1, 2, 3]);
    const indices = tensor(Int32Array.of(0, 1));
    const table = randn([3, 2]);
    const live = memoryStats("cuda");
    const refused: readonly [() => unknown, RegExp][] = [
      [() => sum(x).item(), /Reading a tensor back to the host cannot be part of a CUDA graph/],
      [() => x.toFloat32Array(), /Reading a tensor back/],
      [() => synchronize("cuda"), /Waiting for the device cannot be part of a CUDA graph/],
      [() => clipGradNorm([withGradient(x)], 1), /Reading a value back to the host cannot be part/],
      [() => dropout(x, 0.5, new Generator(1)), /default generator/],
      [() => CudaGraph.capture(() => x), /already/],
      [() => manualSeed(77), /seeded anew/],
      [() => embedding(indices, table).toArray(), /Reading a tensor back/],
      [() => crossEntropy(table, tensor(Int32Array.of(0, 1, 1))), /Reading a tensor back/], // the mean counts labels
    ];
    for (const [body, message] of refused) {
      expect(() => CudaGraph.capture(body)).toThrow(CaptureError);
      expect(() => CudaGraph.capture(body)).toThrow(message);
    }
    expect(() => CudaGraph.capture(() => x, { device: "cpu" })).toThrow(/only work of a GPU/);
    expect(scope(() => sum(x).item())).toBe(6);
    expect(memoryStats("cuda").liveBytes).toBe(live.liveBytes);
    expect(memoryStats("cuda").graphBytes).toBe(live.graphBytes);
  });

  test("reports an index out of range at the point that waits for a replay, and is good for the next", () => {
    const table = randn([3, 2]);
    const index = tensor(Int32Array.of(0, 2));
    using graph = CudaGraph.capture(() => embedding(index, table));
    expect(bits(graph.replay())).toEqual(bits(embedding(tensor(Int32Array.of(0, 2)), table)));
    index.copyFrom(Int32Array.of(1, 3));
    expect(() => {
      graph.replay();
      synchronize("cuda");
    }).toThrow(/index 3 at \[1\] is out of range for size 3/);
    index.copyFrom(Int32Array.of(1, 1));
    expect(bits(graph.replay())).toEqual(bits(embedding(tensor(Int32Array.of(1, 1)), table)));
  });

  test("holds its memory until it is disposed; graphs that share memory hold it until the last one is", () => {
    const x = randn([64, 64]);
    const body = (): Tensor => sum(mul(add(x, 1), add(x, 2)));
    const before = memoryStats("cuda");
    const held = (): number => {
      const now = memoryStats("cuda");
      return now.liveBytes - before.liveBytes + now.graphBytes - before.graphBytes;
    };
    const first = CudaGraph.capture(body);
    const alone = held();
    expect(memoryStats("cuda").graphBytes - before.graphBytes).toBeGreaterThan(3 * 64 * 64 * 4 - 1);
    const second = CudaGraph.capture(body, { sharesMemoryWith: first });
    expect(held() - alone).toBeLessThan(64 * 64 * 4); // an output and the numbers of its draws
    const expected = scope(() => body().item());
    expect(first.replay().item()).toBe(expected);
    expect(second.replay().item()).toBe(expected);
    expect(first.output.item()).toBe(expected);
    first.dispose();
    expect(second.replay().item()).toBe(expected);
    expect(() => first.replay()).toThrow(/disposed/);
    second.dispose();
    second.dispose();
    expect(held()).toBe(0);
  });

  test("keeps what was freed during its capture for its replays, and what outlives it for its owner", () => {
    const before = memoryStats("cuda");
    const early = randn([100]);
    const expected = bits(mul(early, 3));
    const graph = CudaGraph.capture(() => {
      const result = mul(early, 3);
      early.dispose();
      return { result, parameter: add(result, 1) };
    });
    expect(bits(graph.replay().result)).toEqual(expected);
    const view = graph.output.parameter.detach();
    graph.dispose();
    expect(view.toFloat32Array()).toHaveLength(100);
    view.dispose();
    const after = memoryStats("cuda");
    expect(after.graphBytes).toBe(before.graphBytes);
  });
});

function withGradient(x: Tensor): Tensor {
  const leaf = x.detach();
  leaf.grad = keep(mul(x, 1));
  return leaf;
}

test.runIf(cudaStatus().build === "emulator")(
  "clipGradients finds what clipGradNorm finds, and stops a step that is not finite",
  () => {
    for (const [values, loss] of [
      [[3, 4], 1],
      [[0.01, 0.02], 1],
      [[Number.NaN, 1], 1],
      [[Infinity, 1], 1],
      [[3, 4], Infinity],
    ] as const) {
      const [a, b] = [0, 1].map(() => new Parameter(tensor([1, 1]))) as [Parameter, Parameter];
      for (const parameter of [a, b]) parameter.grad = tensor([...values]);
      const norm = clipGradNorm([a], 0.5);
      const outcome = clipGradients([b], 0.5, tensor([loss]));
      const [found, isFinite] = outcome.toFloat32Array();
      expect(found).toBe(norm);
      expect(isFinite).toBe(Number.isFinite(norm) && Number.isFinite(loss) ? 1 : 0);
      expect((b.grad as Tensor).toFloat32Array()).toEqual((a.grad as Tensor).toFloat32Array());
      new AdamW([{ params: [b] }], { lr: 0.1 }).step(outcome);
      expect(b.toFloat32Array().every((value) => value === 1)).toBe(isFinite === 0);
    }
  },
);
