import { cast, Generator, linear, mul, sum, type Tensor, tensor } from "@fms-accel/tensor";
import { expectClose, fixturePath } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { AutoModelForCausalLM, getPeftModel, LoraConfig, MixtralExpert } from "../../src/index.ts";
import { mixtureOfExperts, oneByOne } from "../../src/layers/experts.ts";

const ROWS = [
  [1, 2],
  [3, -4],
  [-5, 6],
];
/** Weights `[out, in]` of four experts; nobody chooses the third. */
const EXPERTS = [
  [
    [1, 0],
    [0, 1],
  ],
  [
    [2, 1],
    [0, -1],
  ],
  [
    [7, 7],
    [7, 7],
  ],
  [
    [0, 1],
    [1, 0],
  ],
];
const CHOSEN = [
  [3, 0],
  [1, 3],
  [0, 1],
];
const SHARES = [
  [0.75, 0.25],
  [0.5, 0.5],
  [1, 0.125],
];

const routing = (): { experts: Tensor; weights: Tensor } => ({
  experts: tensor(CHOSEN, { dtype: "int64" }),
  weights: tensor(SHARES, { requiresGrad: true }),
});

const twice = (rows: Tensor): Tensor => mul(rows, 2);

/** The definition, token by token. */
function byTokens(): number[][] {
  return ROWS.map((row, token) =>
    [0, 1].map((out) =>
      CHOSEN[token]!.reduce(
        (total, expert, at) =>
          total + SHARES[token]![at]! * EXPERTS[expert]![out]!.reduce((dot, weight, k) => dot + weight * row[k]!, 0),
        0,
      ),
    ),
  );
}

describe("mixtureOfExperts", () => {
  it("adds the weighted answers of each token's experts", () => {
    const experts = EXPERTS.map((weight) => (rows: Tensor) => linear(rows, tensor(weight)));
    const found = mixtureOfExperts(tensor(ROWS), routing(), 4, oneByOne(experts));
    expect(found.shape).toEqual([3, 2]);
    expectClose(found.toFloat32Array(), byTokens().flat(), { absolute: 1e-6 }, "answers");
  });

  it("gives an expert without tokens a gradient of 0, as to a slice of one parameter", () => {
    const weights = EXPERTS.map((weight) => tensor(weight, { requiresGrad: true }));
    const x = tensor(ROWS, { requiresGrad: true });
    const chosen = routing();
    const experts = weights.map((weight) => (rows: Tensor) => linear(rows, weight));
    sum(mixtureOfExperts(x, chosen, 4, oneByOne(experts))).backward();
    expect(weights[2]!.grad!.toArray()).toEqual([0, 0, 0, 0]);
    // d/dW of expert 3: the rows of tokens 0 and 1, times 0.75 and 0.5.
    expect(weights[3]!.grad!.toArray()).toEqual([2.25, -0.5, 2.25, -0.5]);
    // d/dx of token 0: the column sums of experts 3 and 0, times 0.75 and 0.25.
    expect([...x.grad!.toFloat32Array().subarray(0, 2)]).toEqual([1, 1]);
    // d/dshare: the sum of the expert's answer.
    expect([...chosen.weights.grad!.toFloat32Array().subarray(0, 2)]).toEqual([3, 3]);
  });

  it("rounds weighted answers to the dtype of the tokens", () => {
    const x = cast(tensor(ROWS), "bfloat16");
    const found = mixtureOfExperts(x, routing(), 4, twice);
    expect(found.dtype).toBe("bfloat16");
    expect(found.toArray()).toEqual([2, 4, 6, -8, -11.25, 13.5]);
  });
});

describe("experts with adapters", () => {
  async function step(ranks: Record<string, number>, isOneByOne: boolean) {
    const base = await AutoModelForCausalLM.fromPretrained(fixturePath("models", "mixtral"), { dtype: "float32" });
    const config = new LoraConfig({
      r: 3,
      rankPattern: ranks,
      targetModules: ["w1", "w2", "w3"],
      initLoraWeights: false,
    });
    const model = getPeftModel(base, config, { generator: new Generator(5) });
    if (isOneByOne) {
      for (const [, module] of model.namedModules()) {
        if (module instanceof MixtralExpert) module.forward = MixtralExpert.prototype.forward.bind(module);
      }
    }
    const inputIds = tensor([[3, 17, 8, 40, 5, 6, 11]], { dtype: "int32" });
    const { loss } = model.forward({ inputIds, labels: inputIds });
    loss!.backward();
    const gradients = [...model.namedParameters()].flatMap(([name, { grad }]) =>
      grad === undefined ? [] : [[name, grad.toFloat32Array()] as const],
    );
    return { loss: loss!.item(), gradients };
  }

  it.each([
    ["alike, as one product each", {}],
    ["of several ranks, one by one", { "experts.1.w1": 5 }],
  ])("%s: the numbers of one by one", async (_, ranks) => {
    const [found, expected] = [await step(ranks, false), await step(ranks, true)];
    expect(Math.abs(found.loss / expected.loss - 1)).toBeLessThan(1e-6);
    expect(found.gradients.map(([name]) => name)).toEqual(expected.gradients.map(([name]) => name));
    expect(found.gradients.length).toBeGreaterThan(20);
    found.gradients.forEach(([name, gradient], index) =>
      expectClose(gradient, expected.gradients[index]![1], { absolute: 1e-6, relative: 1e-5 }, name),
    );
  });
});
