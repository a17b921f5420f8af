import { expect, test } from "vitest";
import { Dropout, Embedding, LayerNorm, Linear, Module, Parameter, tensor, zeros } from "../src/index.ts";
import { expectClose } from "@fms-accel/test-utilities";

class Block extends Module {
  q_proj: Linear = new Linear(2, 3, { bias: false });
  norm: LayerNorm = new LayerNorm(2);
}
class Model extends Module {
  embed_tokens: Embedding = new Embedding(5, 2);
  layers: Block[] = [new Block(), new Block()];
  head: Linear = new Linear(2, 5, { bias: false });
  constructor() {
    super();
    this.head.weight = this.embed_tokens.weight;
    this.registerBuffer("mask", zeros([2]));
    this.registerBuffer("scratch", zeros([3]), { persistent: false });
  }
}

test("names are the paths of fields, in order; a tied parameter is listed once but saved under both names", () => {
  const model = new Model();
  const block = ["q_proj.weight", "norm.weight", "norm.bias"];
  const names = ["embed_tokens.weight", ...[0, 1].flatMap((i) => block.map((name) => `layers.${i}.${name}`))];
  expect([...model.namedParameters()].map(([name]) => name)).toEqual(names);
  expect([...model.stateDict().keys()].sort()).toEqual([...names, "head.weight", "mask"].sort());
  expect([...model.namedBuffers()].map(([name]) => name)).toEqual(["mask", "scratch"]);
  expect([...model.namedModules()].map(([name]) => name)).toEqual([
    "",
    "embed_tokens",
    "layers.0",
    "layers.0.q_proj",
    "layers.0.norm",
    "layers.1",
    "layers.1.q_proj",
    "layers.1.norm",
    "head",
  ]);
});

test("submodules are found and replaced by path, in lists too", () => {
  const model = new Model();
  const replacement = new Linear(2, 3);
  model.setSubmodule("layers.1.q_proj", replacement);
  expect(model.getSubmodule("layers.1.q_proj")).toBe(replacement);
  const block = new Block();
  model.setSubmodule("layers.0", block);
  expect(model.layers[0]).toBe(block);
  expect(() => model.getSubmodule("layers.7.q_proj")).toThrow('no module "layers.7.q_proj" in Model');
  expect(() => model.getSubmodule("layers.0.k_proj")).toThrow("in Block, which has q_proj, norm");
  expect(() => model.setSubmodule("nothing", block)).toThrow("no module");
});

test("train, eval and freezing reach every module", () => {
  const model = new Model();
  model.eval();
  expect([...model.namedModules()].every(([, module]) => !module.training)).toBe(true);
  model.train().requiresGrad_(false);
  expect(model.layers[1]?.training).toBe(true);
  expect([...model.parameters()].some((parameter) => parameter.requiresGrad)).toBe(false);
});

test("a parameter shares the memory of its data and belongs to no scope", () => {
  const data = tensor([1, 2]);
  const parameter = new Parameter(data);
  data.copyFrom(Float32Array.of(3, 4));
  data.dispose();
  expect(parameter.toArray()).toEqual([3, 4]);
  expect(parameter.requiresGrad).toBe(true);
});

test("layer normalisation: mean 0, variance 1, then weight and bias", () => {
  const norm = new LayerNorm(4, { eps: 1e-5 });
  norm.weight.copyFrom(Float32Array.of(1, 2, 3, 4));
  norm.bias?.copyFrom(Float32Array.of(0, 0, 0, 1));
  const y = norm.forward(tensor([[1, 2, 3, 6]]));
  const deviation = Math.sqrt(3.5 + 1e-5);
  expectClose(y.toArray(), [-2 / deviation, (2 * -1) / deviation, 0, (4 * 3) / deviation + 1], { absolute: 1e-5 });
});

test("dropout does nothing in evaluation", () => {
  const dropout = new Dropout(0.5);
  dropout.eval();
  const x = tensor([1, 2, 3]);
  expect(dropout.forward(x)).toBe(x);
});
