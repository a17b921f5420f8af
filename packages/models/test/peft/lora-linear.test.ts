import {
  defaultDevice,
  addmm,
  type DType,
  Generator,
  Linear,
  matmul,
  mul,
  normal_,
  scope,
  type Tensor,
  tensor,
  transpose,
} from "@fms-accel/tensor";
import { expectClose, relativeDifference } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import type { AdapterState } from "../../src/peft/adapter-state.ts";
import { LoraConfig, type LoraConfigOptions } from "../../src/peft/lora-config.ts";
import { LoraLinear } from "../../src/peft/lora-linear.ts";

const IN = 24;
const OUT = 17;
const ROWS = 5;

const generator = new Generator(7);
const random = (shape: readonly number[], deviation = 1): Tensor =>
  normal_(tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)), { shape }), 0, deviation, generator);

function baseLayer(dtype: DType = "float32", bias = true): Linear {
  const base = new Linear(IN, OUT, { dtype, bias });
  base.weight.copyFrom(random([OUT, IN], 0.3));
  base.bias?.copyFrom(random([OUT]));
  base.requiresGrad_(false);
  return base;
}

interface LayerOptions {
  dtype?: DType;
  bias?: boolean;
}

function layer(
  options: LoraConfigOptions,
  { dtype = "float32", bias = true }: LayerOptions = {},
): { layer: LoraLinear; state: AdapterState } {
  const state: AdapterState = { active: ["default"], enabled: true, weightsHeld: false };
  const made = new LoraLinear(baseLayer(dtype, bias), state);
  const config = new LoraConfig(options);
  made.addAdapter("default", config, config.r, config.loraAlpha, {
    dtype: "float32",
    device: defaultDevice(),
    generator: new Generator(1),
  });
  return { layer: made.eval(), state };
}

/** Moves the adapter away from its initial values. */
function disturb(made: LoraLinear, adapter = "default"): void {
  for (const parameter of made.adapterParameters(adapter)) {
    const noise = random(parameter.shape, 0.2);
    parameter.copyFrom(
      Float32Array.from(parameter.toFloat32Array(), (value, index) => value + (noise.toFloat32Array()[index] ?? 0)),
    );
  }
}

/** (W + scaling · B · A) · x + bias from its definition, in float64. */
function byDefinition(made: LoraLinear, x: Float32Array, adapters: readonly string[]): number[] {
  const weight = Float64Array.from(made.base_layer.weight.toFloat32Array());
  for (const adapter of adapters) {
    const { r, scaling } = made.settings(adapter)!;
    const a = made.lora_A.get(adapter)!.weight.toFloat32Array();
    const b = made.lora_B.get(adapter)!.weight.toFloat32Array();
    for (let out = 0; out < OUT; out++) {
      for (let input = 0; input < IN; input++) {
        for (let rank = 0; rank < r; rank++) {
          weight[out * IN + input]! += scaling * b[out * r + rank]! * a[rank * IN + input]!;
        }
      }
    }
    const magnitude = made.lora_magnitude_vector.get(adapter)?.weight.toFloat32Array();
    for (let out = 0; out < (magnitude?.length ?? 0); out++) {
      const row = weight.subarray(out * IN, (out + 1) * IN);
      const norm = Math.sqrt(row.reduce((total, value) => total + value * value, 0));
      row.forEach((value, index) => (row[index] = (value * magnitude![out]!) / norm));
    }
  }
  const bias = made.bias?.toFloat32Array() ?? new Float32Array(OUT);
  return Array.from({ length: ROWS * OUT }, (_, at) => {
    const [row, out] = [Math.floor(at / OUT), at % OUT];
    let total = bias[out]!;
    for (let input = 0; input < IN; input++) {
      total += x[row * IN + input]! * weight[out * IN + input]!;
    }
    return total;
  });
}

describe("a linear layer with adapters", () => {
  it.each<[what: string, options: LoraConfigOptions, bias: boolean]>([
    ["plain", { r: 3, loraAlpha: 5 }, true],
    ["without a bias", { r: 3, loraAlpha: 5 }, false],
    ["rank-stabilised", { r: 4, loraAlpha: 5, useRslora: true }, true],
    ["weight-decomposed", { r: 3, loraAlpha: 5, useDora: true }, true],
    ["weight-decomposed without a bias", { r: 3, loraAlpha: 5, useDora: true }, false],
  ])("%s: as its definition says", (_, options, bias) => {
    const { layer: made } = layer(options, { bias });
    disturb(made);
    for (const shape of [
      [ROWS, IN],
      [1, ROWS, IN],
      [ROWS, 1, 1, IN],
    ]) {
      const x = random(shape);
      const y = made.forward(x);
      expect(y.shape).toEqual([...shape.slice(0, -1), OUT]);
      expectClose(y.toFloat32Array(), byDefinition(made, x.toFloat32Array(), ["default"]), { absolute: 2e-5 });
    }
  });

  it("a new adapter changes nothing; with init_lora_weights false it does", () => {
    for (const useDora of [false, true]) {
      const { layer: made, state } = layer({ useDora });
      const x = random([ROWS, IN]);
      const adapted = made.forward(x).toFloat32Array();
      state.enabled = false;
      expectClose(adapted, made.forward(x).toFloat32Array(), { absolute: useDora ? 1e-5 : 0 });
    }
    const { layer: made, state } = layer({ initLoraWeights: false });
    const x = random([ROWS, IN]);
    const adapted = made.forward(x).toFloat32Array();
    state.enabled = false;
    expect(relativeDifference(adapted, made.forward(x).toFloat32Array())).toBeGreaterThan(1e-2);
  });

  it("initial values: uniform within 1/sqrt(in), or normal with deviation 1/r, by the generator's seed", () => {
    const of = (options: LoraConfigOptions): Float32Array =>
      layer(options).layer.lora_A.get("default")!.weight.toFloat32Array();
    const uniform = of({ r: 16 });
    expect(Math.max(...uniform.map(Math.abs))).toBeLessThanOrEqual(1 / Math.sqrt(IN));
    expect(Math.max(...uniform.map(Math.abs))).toBeGreaterThan(0.95 / Math.sqrt(IN));
    const gaussian = of({ r: 16, initLoraWeights: "gaussian" });
    const deviation = Math.sqrt(gaussian.reduce((total, value) => total + value * value, 0) / gaussian.length);
    expect(deviation * 16).toBeGreaterThan(0.9);
    expect(deviation * 16).toBeLessThan(1.1);
    expect(of({ r: 16 })).toEqual(uniform);
    expect(
      layer({ r: 16 })
        .layer.lora_B.get("default")!
        .weight.toFloat32Array()
        .every((value) => value === 0),
    ).toBe(true);
  });

  it("gradients of A, B and x, against the composed definition", () => {
    const { layer: made } = layer({ r: 3, loraAlpha: 5 });
    disturb(made);
    const weights = random([ROWS, OUT]);
    const gradients = (forward: (x: Tensor) => Tensor): Float32Array[] => {
      const x = tensor(
        Float32Array.from({ length: ROWS * IN }, (_, index) => Math.sin(index)),
        { shape: [ROWS, IN], requiresGrad: true },
      );
      scope(() =>
        matmul(mul(forward(x), weights), tensor(new Float32Array(OUT).fill(1), { shape: [OUT, 1] })).backward(
          tensor(new Float32Array(ROWS).fill(1), { shape: [ROWS, 1] }),
        ),
      );
      return [x, ...made.adapterParameters("default")].map((leaf) => {
        const values = leaf.grad!.toFloat32Array();
        leaf.grad = undefined;
        return values;
      });
    };
    const a = made.lora_A.get("default")!.weight;
    const b = made.lora_B.get("default")!.weight;
    const composed = (x: Tensor): Tensor => {
      const delta = mul(matmul(b, a), 5 / 3);
      return addmm(made.base_layer.forward(x), x, transpose(delta, 0, 1));
    };
    const found = gradients((x) => made.forward(x));
    gradients(composed).forEach((expected, index) =>
      expect(relativeDifference(found[index]!, expected)).toBeLessThan(1e-5),
    );
    expect(made.weight.grad).toBeUndefined();
  });

  it("a bfloat16 base: computed in bfloat16, adapter and its gradients in float32", () => {
    for (const useDora of [false, true]) {
      const { layer: made } = layer({ r: 4, useDora }, { dtype: "bfloat16" });
      disturb(made);
      const values = random([ROWS, IN]).toFloat32Array();
      const x = tensor(values, { shape: [ROWS, IN], dtype: "bfloat16" });
      const y = made.forward(x);
      expect(y.dtype).toBe("bfloat16");
      // three roundings to 8 bits: x, the narrow product, the result
      expect(relativeDifference(y.toFloat32Array(), byDefinition(made, x.toFloat32Array(), ["default"]))).toBeLessThan(
        3 * 2 ** -8,
      );
      y.backward(tensor(new Float32Array(ROWS * OUT).fill(1), { shape: [ROWS, OUT], dtype: "bfloat16" }));
      for (const parameter of made.adapterParameters("default")) {
        expect(parameter.dtype).toBe("float32");
        expect(parameter.grad!.dtype).toBe("float32");
      }
    }
  });

  it("dropout acts on what A sees, in training only", () => {
    for (const useDora of [false, true]) {
      const { layer: made, state } = layer({ r: 4, loraDropout: 0.5, useDora });
      disturb(made);
      const x = random([ROWS, IN]);
      const evaluated = made.forward(x).toFloat32Array();
      expect(made.forward(x).toFloat32Array()).toEqual(evaluated);
      made.train();
      const first = made.forward(x).toFloat32Array();
      expect(relativeDifference(first, evaluated)).toBeGreaterThan(1e-2);
      expect(relativeDifference(made.forward(x).toFloat32Array(), first)).toBeGreaterThan(1e-2);
      // the mean over many masks is the undropped value
      const mean = new Float64Array(ROWS * OUT);
      const draws = 800;
      for (let draw = 0; draw < draws; draw++) {
        made
          .forward(x)
          .toFloat32Array()
          .forEach((value, index) => (mean[index]! += value / draws));
      }
      expect(relativeDifference(mean, evaluated)).toBeLessThan(0.1);
      state.enabled = false;
      expect(made.forward(x).toFloat32Array()).toEqual(made.base_layer.forward(x).toFloat32Array());
    }
  });

  it("several adapters add up; others do not count", () => {
    const { layer: made, state } = layer({ r: 3, loraAlpha: 5 });
    for (const [name, useDora] of [
      ["second", false],
      ["third", true],
    ] as const) {
      made.addAdapter(name, new LoraConfig({ useDora }), 2, 6, {
        dtype: "float32",
        device: defaultDevice(),
        generator: new Generator(3),
      });
    }
    ["default", "second", "third"].forEach((name) => disturb(made, name));
    const x = random([ROWS, IN]);
    const y = (active: readonly string[]): Float32Array => {
      state.active = active;
      return made.forward(x).toFloat32Array();
    };
    for (const active of [["default"], ["second"], ["default", "second"], ["third"], ["elsewhere", "second"]]) {
      expectClose(
        y(active),
        byDefinition(
          made,
          x.toFloat32Array(),
          active.filter((name) => name !== "elsewhere"),
        ),
        { absolute: 2e-5 },
      );
    }
    expect(y([])).toEqual(made.base_layer.forward(x).toFloat32Array());
    // DoRA's lengths are those of the base weight with its own product alone, whatever else is active
    const [alone, other, both] = [y(["third"]), y(["default"]), y(["default", "third"])];
    const base = y([]);
    expectClose(
      both,
      both.map((_, index) => alone[index]! + other[index]! - base[index]!),
      { absolute: 2e-5 },
    );
  });

  it("merges in float32, rounds once, and unmerges exactly", () => {
    for (const dtype of ["float32", "bfloat16"] as const) {
      for (const useDora of [false, true]) {
        const { layer: made, state } = layer({ r: 3, useDora }, { dtype });
        made.addAdapter("second", new LoraConfig(), 2, 6, {
          dtype: "float32",
          device: defaultDevice(),
          generator: new Generator(3),
        });
        disturb(made);
        disturb(made, "second");
        const x = tensor(random([ROWS, IN]).toFloat32Array(), { shape: [ROWS, IN], dtype });
        const original = made.weight;
        const bytes = original.toBytes();
        const plain = made.forward(x).toFloat32Array();
        made.merge(["default"]);
        expect(made.mergedAdapters).toEqual(["default"]);
        expect(made.weight.dtype).toBe(dtype);
        expect(relativeDifference(made.forward(x).toFloat32Array(), plain)).toBeLessThan(
          dtype === "float32" ? 1e-6 : 4 * 2 ** -8,
        );
        state.enabled = false; // as without adapters, although merged
        const off = made.forward(x).toFloat32Array();
        state.enabled = true;
        made.merge(["default", "second"]);
        expect(made.mergedAdapters).toEqual(["default", "second"]);
        const twice = made.weight.toFloat32Array();
        made.unmerge();
        expect(made.weight).toBe(original);
        expect(Buffer.compare(made.weight.toBytes(), bytes)).toBe(0);
        expect(made.base_layer.forward(x).toFloat32Array()).toEqual(off);
        made.merge(["default", "second"]); // in one go: the same bits
        expect(made.weight.toFloat32Array()).toEqual(twice);
      }
    }
  });
});
