import { describe, expect, test } from "vitest";
import { readJsonFixture } from "@fms-accel/test-utilities";
import { add, LayerNorm, Linear, tensor, type Tensor } from "@fms-accel/tensor";
import {
  anyOf,
  ModelPatcher,
  modelPatcherRule,
  moduleIs,
  moduleWhere,
  patchBranch,
  PatchError,
} from "../../src/index.ts";
import { describeConflicts } from "../../src/patching/patch-report.ts";
import { Attention, Block, Toy } from "./toy-model.ts";

const ids = (): Tensor => tensor(Int32Array.of(0, 1, 3), { shape: [1, 3], dtype: "int32" });
const output = (model: Toy): number[] => model.forward(ids()).toArray();
const same = modelPatcherRule({ id: "same", trigger: moduleIs(Linear), forward: (linear, x) => add(linear.weight, x) });

function patched(model: Toy, ...rules: Parameters<ModelPatcher["register"]>[0][]): ModelPatcher {
  const patcher = new ModelPatcher();
  for (const rule of rules) patcher.register(rule);
  patcher.patch(model);
  return patcher;
}

describe("a patched model", () => {
  test("computes by the rule's forward, with the module and its inputs", () => {
    const model = new Toy();
    const before = output(model);
    const calls: string[] = [];
    const rule = modelPatcherRule({
      id: "double",
      trigger: moduleIs(Attention),
      forwardBuilder: (_, { original, path }) => {
        return (x) => {
          calls.push(path);
          return original(x);
        };
      },
    });
    patched(model, rule);
    expect(output(model)).toEqual(before);
    expect(calls).toEqual(["layers.0.self_attn", "layers.1.self_attn"]);
  });

  test("is as before after undo, and can be patched again", () => {
    const model = new Toy();
    const before = output(model);
    const patcher = patched(model, modelPatcherRule({ id: "skip", trigger: moduleIs(Block), forward: (_, x) => x }));
    expect(output(model)).not.toEqual(before);
    expect(() => patcher.patch(model)).toThrow(PatchError);
    patcher.undo();
    expect(output(model)).toEqual(before);
    expect(Object.hasOwn(model.layers[0] as Block, "forward")).toBe(false);
    expect([patcher.summary(), patcher.records, patcher.conflicts]).toEqual(["", [], []]);
    patcher.patch(model);
    expect(output(model)).not.toEqual(before);
  });

  test("keeps its tree and its state dict, and other instances keep their forward", () => {
    const model = new Toy();
    const names = [...model.stateDict().keys()];
    const modules = [...model.namedModules()].map(([name]) => name);
    patched(model, modelPatcherRule({ id: "skip", trigger: moduleIs(Block), forward: (_, x) => x }));
    expect([...model.stateDict().keys()]).toEqual(names);
    expect([...model.namedModules()].map(([name]) => name)).toEqual(modules);
    expect(Object.hasOwn(new Toy().layers[0] as Block, "forward")).toBe(false);
  });

  test("is as before when a builder fails, which is named with the module", () => {
    const model = new Toy();
    const before = output(model);
    const skip = modelPatcherRule({ id: "skip", trigger: moduleIs(LayerNorm), forward: (_, x) => x });
    const broken = modelPatcherRule({
      id: "broken",
      trigger: moduleWhere((_, { path }) => path === "layers.1.self_attn"),
      forwardBuilder: () => {
        throw new Error("no kernel for head dimension 3");
      },
    });
    expect(() => patched(model, skip, broken)).toThrow(
      'Rule "broken" makes no forward for layers.1.self_attn: no kernel for head dimension 3',
    );
    expect(output(model)).toEqual(before);
  });

  test("leaves a module alone for which a builder makes nothing, and lets a later rule have it", () => {
    const declines = modelPatcherRule({
      id: "declines",
      trigger: moduleIs(Attention),
      forwardBuilder: () => undefined,
    });
    const takes = modelPatcherRule({ id: "takes", trigger: moduleIs(Attention), forward: (_, x) => x });
    const patcher = patched(new Toy(), declines, takes);
    expect(patcher.records.map(({ ruleId }) => ruleId)).toEqual(["takes", "takes"]);
    expect(patcher.conflicts).toEqual([]);
  });
});

describe("conflicts", () => {
  test("between a branch and a rule for the module below it are reported", () => {
    const branches = modelPatcherRule({
      id: "outer",
      trigger: moduleIs(Attention),
      forwardBuilder: () => [patchBranch(moduleIs(Linear, { moduleName: "q_proj" }), (_, x) => x)],
    });
    const patcher = patched(new Toy(1), branches, same);
    expect(patcher.conflicts).toEqual([
      { path: "layers.0.self_attn.q_proj", moduleName: "q_proj", ruleId: "same", appliedRuleId: "outer-1" },
    ]);
    expect(patcher.records.map(({ ruleId, moduleName }) => `${ruleId} ${moduleName}`)).toEqual([
      "outer-1 q_proj",
      "same k_proj",
      "same o_proj",
    ]);
  });

  test("with a second patcher on the same model are reported, and each undoes its own", () => {
    const model = new Toy(1);
    const before = output(model);
    const first = patched(model, modelPatcherRule({ id: "a", trigger: moduleIs(Attention), forward: (_, x) => x }));
    const second = patched(model, modelPatcherRule({ id: "b", trigger: moduleIs(Attention), forward: (_, x) => x }));
    expect(second.records).toEqual([]);
    expect(describeConflicts(second.conflicts)).toEqual([
      'Rule "b" is not applied to layers.0.self_attn: rule "of another patcher" came first.',
    ]);
    second.undo();
    expect(output(model)).not.toEqual(before);
    first.undo();
    expect(output(model)).toEqual(before);
  });

  test("are told once for all modules of a name", () => {
    const patcher = patched(
      new Toy(2),
      same,
      modelPatcherRule({ id: "late", trigger: moduleIs(Linear, { moduleName: "q_proj" }) }),
    );
    expect(describeConflicts(patcher.conflicts)).toEqual([
      'Rule "late" is not applied to 2 modules "q_proj", the first of them layers.0.self_attn.q_proj: rule "same" came first.',
    ]);
  });
});

describe("defects of the original that are not here", () => {
  const summary = readJsonFixture<{ model_patcher: { what: string; result?: { summary: string } }[] }>(
    "framework",
    "patching.json",
  ).model_patcher;

  test("names in combined triggers are passed on", () => {
    const original = summary.find(({ what }) => what.startsWith("a module name inside a combined trigger"));
    expect(original?.result?.summary).toBe("");
    const named = anyOf(moduleIs(Linear, { moduleName: "q_proj" }), moduleIs(Linear, { moduleName: "k_proj" }));
    const patcher = patched(new Toy(), modelPatcherRule({ id: "r1", trigger: named, forward: (_, x) => x }));
    expect(patcher.records.map(({ moduleName }) => moduleName)).toEqual(["q_proj", "k_proj", "q_proj", "k_proj"]);
  });

  test("a builder that comes too late is reported like a forward", () => {
    const first = modelPatcherRule({ id: "r1", trigger: moduleIs(LayerNorm), forward: (_, x) => x });
    const second = modelPatcherRule({ id: "r2", trigger: moduleIs(LayerNorm), forwardBuilder: () => (x) => x });
    expect(patched(new Toy(), first, second).conflicts).toHaveLength(3);
  });

  test("modules of any depth are reported by their own name, elements of a list by the list's", () => {
    const rule = modelPatcherRule({ id: "r", trigger: anyOf(moduleIs(Block), moduleIs(LayerNorm)) });
    expect(patched(new Toy(), rule).records.map(({ path, moduleName }) => [path, moduleName])).toEqual([
      ["layers.0", "layers"],
      ["layers.0.norm", "norm"],
      ["layers.1", "layers"],
      ["layers.1.norm", "norm"],
      ["norm", "norm"],
    ]);
  });

  test("no state is shared: two patchers have their own rules, records and models", () => {
    const [one, two] = [new Toy(), new Toy()];
    const before = output(two);
    const first = patched(one, modelPatcherRule({ id: "r", trigger: moduleIs(Block), forward: (_, x) => x }));
    const second = patched(two, modelPatcherRule({ id: "r", trigger: moduleIs(Attention), forward: (_, x) => x }));
    expect([first.records.length, second.records.length]).toEqual([2, 2]);
    second.undo();
    expect(output(two)).toEqual(before);
    expect(first.records).toHaveLength(2);
  });
});
