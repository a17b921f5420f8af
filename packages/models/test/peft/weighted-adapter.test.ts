/** Several adapters in one model: switched, added up, weighted, and taken out again. */
import { expectClose, fixturePath, readSafetensors, relativeDifference } from "@fms-accel/test-utilities";
import { add, Generator, matmul, mul, randn, scope, tensor, transpose } from "@fms-accel/tensor";
import { describe, expect, it } from "vitest";

import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";
import { LoraConfig, type LoraConfigOptions } from "../../src/peft/lora-config.ts";
import type { LoraLayer } from "../../src/peft/lora-layer.ts";
import { getPeftModel, PeftModel } from "../../src/peft/peft-model.ts";

const inputIds = tensor(Int32Array.from([5, 6, 7, 300, 9, 1, 12, 14]), { shape: [2, 4] });

async function withAdapters(kinds: Readonly<Record<string, LoraConfigOptions>>, base = "llama"): Promise<PeftModel> {
  const model = await AutoModelForCausalLM.fromPretrained(fixturePath("models", base), { onWarning: () => {} });
  const generator = new Generator(4);
  const [[first, config], ...others] = Object.entries(kinds) as [
    [string, LoraConfigOptions],
    ...[string, LoraConfigOptions][],
  ];
  const quiet = { generator, onWarning: () => {} };
  const peft = getPeftModel(model, new LoraConfig(config), { adapterName: first, ...quiet });
  others.forEach(([adapterName, options]) => peft.addAdapter(new LoraConfig(options), { adapterName, ...quiet }));
  for (const name of Object.keys(kinds)) {
    for (const [, parameter] of peft.adapterStateDict(name)) {
      scope(() => parameter.copyFrom(add(parameter, mul(randn(parameter.shape, { generator }), 0.1)).detach()));
    }
  }
  return peft.eval();
}

const logits = (model: PeftModel): Float32Array => scope(() => model.forward({ inputIds }).logits.toFloat32Array());

const KINDS = {
  one: { r: 4, loraAlpha: 8, targetModules: ["q_proj", "embed_tokens", "down_proj"], rankPattern: { q_proj: 2 } },
  two: { r: 3, loraAlpha: 5, useRslora: true, targetModules: ["q_proj", "v_proj", "lm_head"] },
} satisfies Record<string, LoraConfigOptions>;

/** Logits with the changes of two adapters times factors: their A are scaled for it. */
async function scaled(weights: readonly [number, number]): Promise<Float32Array> {
  const model = await withAdapters(KINDS);
  for (const [index, name] of ["one", "two"].entries()) {
    for (const [key, parameter] of model.adapterStateDict(name)) {
      if (/_A(\.weight)?$/.test(key)) {
        scope(() => parameter.copyFrom(mul(parameter, weights[index]!).detach()));
      }
    }
  }
  model.setAdapter(["one", "two"]);
  return logits(model);
}

describe("adapters combined with weights", () => {
  it.each([
    [0.7, 0.3],
    [1, 1],
    [-0.5, 2],
    [0, 1],
  ] as const)("cat is the weighted sum of the changes: %d and %d", async (...weights) => {
    const model = await withAdapters(KINDS);
    model.addWeightedAdapter(["one", "two"], weights, { adapterName: "both" });
    model.setAdapter("both");
    expectClose(logits(model), await scaled(weights), { absolute: 2e-5 });
    const config = model.peftConfig.get("both")!;
    expect([config.r, config.loraAlpha, config.useRslora, config.rankPattern]).toEqual([7, 7, false, {}]);
    expect([...model.parameters()].some(({ requiresGrad }) => requiresGrad)).toBe(false);
  });

  it("linear sums A and B apart, with the roots of the weights", async () => {
    const kind = { r: 2, loraAlpha: 6, targetModules: ["v_proj"] };
    const model = await withAdapters({ one: kind, two: kind });
    model.addWeightedAdapter(["one", "two"], [0.5, -2], { adapterName: "both", combinationType: "linear" });
    const [one, two, both] = ["one", "two", "both"].map((name) => model.adapterStateDict(name));
    for (const [key, combined] of both!) {
      const [first, second] = [one!.get(key)!.toFloat32Array(), two!.get(key)!.toFloat32Array()];
      const roots = [Math.sqrt(0.5 * 3), Math.sqrt(2 * 3) * (key.includes("lora_A") ? -1 : 1)] as const;
      const expected = first.map((value, at) => value * roots[0] + second[at]! * roots[1]);
      expectClose(combined.toFloat32Array(), expected, { absolute: 1e-6 }, key);
    }
  });

  it("a single one takes its factor", async () => {
    const model = await withAdapters(KINDS);
    model.addWeightedAdapter(["two"], [1], { adapterName: "same" });
    model.setAdapter("two");
    const expected = logits(model);
    model.setAdapter("same");
    expectClose(logits(model), expected, { absolute: 1e-5 });
  });

  it.each<[what: string, kinds: Record<string, LoraConfigOptions>, combination: "cat" | "linear", complaint: RegExp]>([
    ["ranks that differ", KINDS, "linear", /linear" needs adapters of one rank, found 4, 3/],
    ["DoRA", { one: {}, two: { useDora: true } }, "cat", /"two" cannot be combined .* use_dora/],
    ["whole modules", { one: { modulesToSave: ["norm"] }, two: {} }, "cat", /"one" .* modules_to_save/],
    ["biases", { one: {}, two: { bias: "all" } }, "cat", /"two" .* bias "all"/],
  ])("refuses %s", async (_, kinds, combinationType, complaint) => {
    const model = await withAdapters(kinds);
    expect(() => model.addWeightedAdapter(["one", "two"], [1, 1], { adapterName: "both", combinationType })).toThrow(
      complaint,
    );
  });

  it("refuses weights that do not fit, and names that are not there", async () => {
    const model = await withAdapters(KINDS);
    const options = { adapterName: "both" };
    expect(() => model.addWeightedAdapter(["one"], [1, 2], options)).toThrow(/1 adapters, 2 weights/);
    expect(() => model.addWeightedAdapter(["one", "tow"], [1, 2], options)).toThrow(/no adapter "tow"/);
    expect(() => model.addWeightedAdapter(["one", "two"], [1, NaN], options)).toThrow(/finite weight/);
    expect(() => model.addWeightedAdapter(["one"], [1], { adapterName: "two" })).toThrow(/"two" already/);
    expect(() => model.addWeightedAdapter([], [], options)).toThrow(/at least one/);
  });
});

// The reference combines in float64: the singular values that PEFT computes in float32 move these logits by 1.3e-5.
describe("combinations of PEFT (add_weighted_adapter)", () => {
  const reference = readSafetensors(fixturePath("weighted-adapter", "expected.safetensors"));
  const ids = tensor(reference.get("input_ids")!.data, { shape: reference.get("input_ids")!.shape });
  const open = async (): Promise<PeftModel> => {
    const quiet = { onWarning: () => {} };
    const base = await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama"), { dtype: "float32" });
    const adapter = (name: string): string => fixturePath("weighted-adapter", name);
    const model = await PeftModel.fromPretrained(base, adapter("one"), { adapterName: "one", ...quiet });
    await model.loadAdapter(adapter("two"), { adapterName: "two", ...quiet });
    return model;
  };

  it.each([
    ["cat", { combinationType: "cat" }],
    ["linear", { combinationType: "linear" }],
    ["svd", { combinationType: "svd" }],
    ["svd-1", { combinationType: "svd", svdRank: 1 }],
  ] as const)("%s: logits, and the change of every weight", async (kind, options) => {
    const model = await open();
    model.addWeightedAdapter(["one", "two"], [0.7, -1.5], { adapterName: "both", ...options });
    model.setAdapter("both");
    const found = scope(() => model.forward({ inputIds: ids }).logits.toFloat32Array());
    expectClose(found, reference.get(`${kind}.logits`)!.data, { absolute: 1e-5 }, "logits");
    const changes = [...reference].filter(([key]) => key.startsWith(`${kind}.change.`));
    expect(changes).toHaveLength(5);
    for (const [key, { data }] of changes) {
      const layer = model.baseModel.getSubmodule(key.slice(`${kind}.change.`.length)) as LoraLayer;
      const { a, b } = layer.factors("both")!;
      const { scaling } = layer.settings("both")!;
      const change = scope(() => {
        const product = mul(matmul(b, a), scaling);
        return (layer.isTransposed ? transpose(product, 0, 1) : product).toFloat32Array();
      });
      expect(relativeDifference(change, data), key).toBeLessThan(1e-6);
    }
  });

  it("names what there is where another is asked for", async () => {
    const model = await open();
    const options = { adapterName: "both", combinationType: "ties" as "svd" };
    expect(() => model.addWeightedAdapter(["one", "two"], [1, 1], options)).toThrow(
      'expected one of "cat", "linear", "svd", found "ties"',
    );
    expect(() => model.addWeightedAdapter(["one"], [1], { adapterName: "both", svdRank: 2 })).toThrow(/svd_rank/);
  });
});

describe("merging", () => {
  it.each<[base: string, options: LoraConfigOptions]>([
    ["llama", KINDS.one],
    ["gpt2", { r: 3, targetModules: ["c_attn", "wte"], useDora: true }],
    ["mixtral", { r: 2, targetModules: ["gate"], targetParameters: ["experts.gate_up_proj", "experts.down_proj"] }],
    ["granitemoe", { r: 2, targetModules: ["q_proj"], targetParameters: ["experts.gate_up_proj"] }],
  ])("%s: back bit for bit, and out without a trace", async (base, options) => {
    const names = async (): Promise<Map<string, Buffer>> => {
      const plain = await AutoModelForCausalLM.fromPretrained(fixturePath("models", base), { onWarning: () => {} });
      return new Map([...plain.stateDict()].map(([name, value]) => [name, Buffer.from(value.toBytes())]));
    };
    const before = await names();
    const model = await withAdapters({ default: options, second: options }, base);
    const switchedOff = model.disableAdapter(() => logits(model));
    const adapted = logits(model);
    model.mergeAdapter(["default"]);
    expectClose(logits(model), adapted, { absolute: 1e-5 }, "merged");
    expect(model.disableAdapter(() => logits(model))).toEqual(switchedOff);
    model.mergeAdapter(["default", "second"]);
    model.unmergeAdapter();
    expect(logits(model)).toEqual(adapted);
    model.deleteAdapter("second");
    const plain = model.unload();
    expect([...plain.stateDict().keys()]).toEqual([...before.keys()]);
    for (const [name, value] of plain.stateDict()) {
      expect(Buffer.compare(value.toBytes(), before.get(name)!), name).toBe(0);
    }
  });
});
