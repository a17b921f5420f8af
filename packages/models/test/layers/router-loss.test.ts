import { tensor } from "@fms-accel/tensor";
import { describe, expect, it } from "vitest";

import { loadBalancingLoss, routerLoss } from "../../src/layers/router-loss.ts";

const CONFIG = { numExpertsPerToken: 1, outputRouterLogits: true, routerAuxLossCoef: 0.5 };
/** Probabilities ¾ and ¼, ¼ and ¾: each expert is chosen once. */
const even = tensor([
  [Math.log(3), 0],
  [0, Math.log(3)],
]);
/** Both tokens choose the first expert, with ¾. */
const uneven = tensor([
  [Math.log(3), 0],
  [Math.log(3), 0],
]);
const ids = tensor([[0, 0]], { dtype: "int32" });

describe("loadBalancingLoss", () => {
  it("is 1 where experts are used alike, and more where they are not", () => {
    expect(loadBalancingLoss([even], 1, undefined).item()).toBeCloseTo(1, 6);
    expect(loadBalancingLoss([uneven], 1, undefined).item()).toBeCloseTo(1.5, 6);
  });

  it("counts every one of a token's experts", () => {
    expect(loadBalancingLoss([uneven], 2, undefined).item()).toBeCloseTo(2, 6);
  });

  it("takes shares and probabilities over all layers, not layer by layer", () => {
    // Shares ¾ and ¼, mean probabilities ⅝ and ⅜: 2 · (15/32 + 3/32).
    expect(loadBalancingLoss([even, uneven], 1, undefined).item()).toBeCloseTo(1.125, 6);
  });

  it("leaves out masked positions", () => {
    expect(loadBalancingLoss([even], 1, tensor([[1, 0]], { dtype: "int32" })).item()).toBeCloseTo(1.5, 6);
  });
});

describe("routerLoss", () => {
  it("is the coefficient's part, of the positions of this call", () => {
    const attentionMask = tensor([[1, 1, 1, 1, 0]], { dtype: "int32" });
    const inputs = { inputIds: ids, labels: ids, attentionMask };
    expect(routerLoss([even], CONFIG, inputs)!.item()).toBeCloseTo(0.75, 6);
  });

  it("is absent without labels, where it is switched off, and without routers", () => {
    expect(routerLoss([even], CONFIG, { inputIds: ids })).toBeUndefined();
    expect(
      routerLoss([even], { ...CONFIG, outputRouterLogits: false }, { inputIds: ids, labels: ids }),
    ).toBeUndefined();
    expect(routerLoss([], CONFIG, { inputIds: ids, labels: ids })).toBeUndefined();
  });
});
