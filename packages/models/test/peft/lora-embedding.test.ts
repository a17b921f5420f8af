import {
  defaultDevice,
  Embedding,
  embedding,
  Generator,
  matmul,
  mul,
  normal_,
  scope,
  sum,
  type Tensor,
  tensor,
  add,
  transpose,
} from "@fms-accel/tensor";
import { expectClose } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import type { AdapterState } from "../../src/peft/adapter-state.ts";
import { LoraConfig, type LoraConfigOptions } from "../../src/peft/lora-config.ts";
import { LoraEmbedding } from "../../src/peft/lora-embedding.ts";

const COUNT = 13;
const DIM = 7;
const PADDING = 4;
const IDS = Int32Array.from([3, 0, 12, 4, 3, 4]);

const generator = new Generator(3);
const random = (shape: readonly number[], deviation = 1): Tensor =>
  normal_(tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)), { shape }), 0, deviation, generator);

function layer(options: LoraConfigOptions, paddingIdx?: number): { layer: LoraEmbedding; state: AdapterState } {
  const base = new Embedding(COUNT, DIM, { paddingIdx });
  base.weight.copyFrom(random([COUNT, DIM], 0.3));
  base.requiresGrad_(false);
  const state: AdapterState = { active: ["default"], enabled: true, weightsHeld: false };
  const made = new LoraEmbedding(base, state);
  const config = new LoraConfig(options);
  made.addAdapter("default", config, config.r, config.loraAlpha, {
    dtype: "float32",
    device: defaultDevice(),
    generator,
  });
  return { layer: made.eval(), state };
}

function disturb(made: LoraEmbedding): void {
  for (const parameter of made.adapterParameters("default")) {
    scope(() => parameter.copyFrom(add(parameter, random(parameter.shape, 0.2)).detach()));
  }
}

/** Rows of Wᵀ + scaling · B · A, lengthened to DoRA's magnitudes, from the definition in float64. */
function byDefinition(made: LoraEmbedding): number[] {
  const { r, scaling } = made.settings("default")!;
  const { a, b } = made.factors("default")!;
  const [wide, narrow] = [a.toFloat32Array(), b.toFloat32Array()];
  const weight = Float64Array.from(made.base_layer.weight.toFloat32Array());
  const magnitude = made.lora_magnitude_vector.get("default")?.weight.toFloat32Array();
  for (let dim = 0; dim < DIM; dim++) {
    let squares = 0;
    for (let id = 0; id < COUNT; id++) {
      for (let rank = 0; rank < r; rank++) {
        weight[id * DIM + dim]! += scaling * narrow[dim * r + rank]! * wide[rank * COUNT + id]!;
      }
      squares += weight[id * DIM + dim]! ** 2;
    }
    for (let id = 0; id < COUNT; id++) {
      weight[id * DIM + dim]! *= magnitude === undefined ? 1 : magnitude[dim]! / Math.sqrt(squares);
    }
  }
  return [...IDS].flatMap((id) => [...weight.subarray(id * DIM, (id + 1) * DIM)]);
}

describe("an embedding with adapters", () => {
  it.each<[what: string, options: LoraConfigOptions]>([
    ["plain", { r: 3, loraAlpha: 5 }],
    ["rank-stabilised", { r: 3, loraAlpha: 5, useRslora: true }],
    ["weight-decomposed", { r: 3, loraAlpha: 5, useDora: true }],
  ])("%s: as its definition says, merged too, and back bit for bit", (_, options) => {
    const { layer: made, state } = layer(options);
    const before = made.base_layer.weight.toBytes();
    const ids = tensor(IDS, { shape: [2, 3] });
    const plain = made.base_layer.forward(ids).toFloat32Array();
    expectClose(made.forward(ids).toFloat32Array(), plain, { absolute: options.useDora === true ? 1e-6 : 0 }, "new");
    disturb(made);
    const expected = byDefinition(made);
    const y = made.forward(ids);
    expect(y.shape).toEqual([2, 3, DIM]);
    expectClose(y.toFloat32Array(), expected, { absolute: 2e-6 });
    made.merge(["default"]);
    expectClose(made.forward(ids).toFloat32Array(), expected, { absolute: 2e-6 }, "merged");
    state.enabled = false;
    expect(made.forward(ids).toFloat32Array()).toEqual(plain);
    made.unmerge();
    expect(Buffer.compare(made.base_layer.weight.toBytes(), before)).toBe(0);
    expect(made.forward(tensor(new Int32Array(0), { shape: [0] })).shape).toEqual([0, DIM]);
  });

  it("gradients are those of the full weight; the padding id gives none to A", () => {
    const { layer: made } = layer({ r: 3, loraAlpha: 5 }, PADDING);
    disturb(made);
    const { a, b } = made.factors("default")!;
    const ids = tensor(IDS);
    const probe = random([IDS.length, DIM]);
    sum(mul(made.forward(ids), probe)).backward();
    const found = [a, b].map((parameter) => parameter.grad!.toFloat32Array());

    const [wide, narrow] = [a.detach().copy(), b.detach().copy()];
    wide.requiresGrad = true;
    narrow.requiresGrad = true;
    const delta = mul(transpose(matmul(narrow, wide), 0, 1), made.settings("default")!.scaling);
    sum(mul(embedding(ids, delta), probe)).backward();
    const expected = wide.grad!.toFloat32Array().map((value, at) => (at % COUNT === PADDING ? 0 : value));
    expectClose(found[0]!, expected, { absolute: 1e-6 }, "A");
    expectClose(found[1]!, narrow.grad!.toFloat32Array(), { absolute: 1e-6 }, "B");
  });

  it("starts with A zero and B normal, as in PEFT", () => {
    const { layer: made } = layer({ r: 3 });
    const { a, b } = made.factors("default")!;
    expect([a.shape, b.shape]).toEqual([
      [3, COUNT],
      [DIM, 3],
    ]);
    expect(a.toFloat32Array().every((value) => value === 0)).toBe(true);
    expect(b.toFloat32Array().every((value) => value !== 0)).toBe(true);
  });
});
