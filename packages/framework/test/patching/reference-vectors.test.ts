import { expect, test } from "vitest";
import { Conv1D } from "@fms-accel/models";
import { Embedding, LayerNorm, Linear } from "@fms-accel/tensor";
import { readJsonFixture } from "@fms-accel/test-utilities";
import {
  allOf,
  anyOf,
  ModelPatcher,
  modelPatcherRule,
  moduleIs,
  moduleWhere,
  patchBranch,
  type CallableModule,
  type ModelPatcherRule,
  type PatchBranch,
} from "../../src/index.ts";
import { Attention, Block, LinearSubclass, Toy } from "./toy-model.ts";

interface Vector {
  readonly what: string;
  readonly layers: number;
  readonly result?: {
    readonly history: readonly Record<
      "cls" | "parent_cls" | "module_name" | "parent_module_name" | "rule_id",
      string
    >[];
    readonly summary: string;
    readonly rules_left: readonly string[];
  };
  readonly error?: { readonly type: string; readonly message: string };
  readonly warnings: readonly string[];
}

const vectors = readJsonFixture<{ model_patcher: Vector[] }>("framework", "patching.json").model_patcher;

const forward = <T>(_: CallableModule, x: T): T => x;
const isAttention = moduleWhere((module) => module instanceof Attention);
const branch = (name: string): PatchBranch => patchBranch(moduleIs(Linear, { moduleName: name }), (_, x) => x);

/** The rules of each reference case, in this package's words. */
const cases: Readonly<Record<string, () => ModelPatcherRule[]>> = {
  "trigger on a class": () => [modelPatcherRule({ id: "r1", trigger: moduleIs(LayerNorm), forward })],
  "trigger on a class and a module name": () => [
    modelPatcherRule({ id: "r1", trigger: moduleIs(Linear, { moduleName: "q_proj" }), forward }),
  ],
  "a subclass triggers too (isinstance)": () => [modelPatcherRule({ id: "r1", trigger: moduleIs(Linear), forward })],
  "trigger on a callable": () => [modelPatcherRule({ id: "r1", trigger: isAttention, forward })],
  "a callable that raises does not trigger": () => [
    modelPatcherRule({
      id: "r1",
      trigger: moduleWhere((module) => (module as unknown as { absent: { deep: boolean } }).absent.deep),
      forward,
    }),
  ],
  "OR of triggers": () => [modelPatcherRule({ id: "r1", trigger: anyOf(isAttention, moduleIs(Embedding)), forward })],
  "AND of triggers": () => [
    modelPatcherRule({ id: "r1", trigger: allOf(moduleIs(Linear), moduleIs(LinearSubclass)), forward }),
  ],
  "two rules on one module: the first registered wins, with a warning": () => [
    modelPatcherRule({ id: "r1", trigger: moduleIs(LayerNorm), forward }),
    modelPatcherRule({ id: "r2", trigger: moduleIs(LayerNorm), forward }),
  ],
  "rule id twice": () => [
    modelPatcherRule({ id: "r1", trigger: moduleIs(LayerNorm), forward }),
    modelPatcherRule({ id: "r1", trigger: moduleIs(Linear), forward }),
  ],
  "forward builder without arguments": () => [
    modelPatcherRule({ id: "r1", trigger: isAttention, forwardBuilder: (module) => (x) => forward(module, x) }),
  ],
  "builder returns a list: sub-rules r1-1, r1-2 on the triggered module": () => [
    modelPatcherRule({ id: "r1", trigger: isAttention, forwardBuilder: () => [branch("q_proj"), branch("k_proj")] }),
  ],
  "combine_functions appends lists": () => {
    const builders = [(): PatchBranch[] => [branch("q_proj")], (): PatchBranch[] => [branch("k_proj")]];
    return [
      modelPatcherRule({
        id: "r1",
        trigger: isAttention,
        forwardBuilder: () => builders.flatMap((builder) => builder()),
      }),
    ];
  },
  "builder's list that triggers on the module itself": () => [
    modelPatcherRule({
      id: "r1",
      trigger: moduleIs(Block),
      forwardBuilder: () => [patchBranch(moduleIs(Attention), (_, x) => x)],
    }),
  ],
  "trigger only: recorded, forward untouched": () => [modelPatcherRule({ id: "r1", trigger: moduleIs(LayerNorm) })],
  "no rule triggers: empty summary": () => [modelPatcherRule({ id: "r1", trigger: moduleIs(Conv1D), forward })],
  "forward and forward_builder": () => [
    modelPatcherRule({
      id: "r1",
      trigger: isAttention,
      forward,
      forwardBuilder: (module) => (x) => forward(module, x),
    }),
  ],
};

/** Cases that cannot be, or that are defects: model-patcher.test.ts shows what happens instead. */
const elsewhere: readonly string[] = [
  "a module name inside a combined trigger: the combination passes no name on, so it never matches",
  "the same, second rule is a builder: ignored without a warning",
  "forward_builder_args is a switch: any name in it passes all patch arguments",
  "forward_builder_args without a builder", // builders take what they need from their scope
  "XOR is refused", // allOf and anyOf are functions
  "import with a trigger", // nothing is assigned into modules
  "import target outside the model's module: not applied",
  "trigger check is neither class nor callable", // does not compile
];

test("every vector is accounted for", () => {
  expect([...Object.keys(cases), ...elsewhere].sort()).toEqual(vectors.map(({ what }) => what).sort());
});

function run({ what, layers }: Vector): ModelPatcher {
  const patcher = new ModelPatcher();
  for (const rule of cases[what]?.() ?? []) patcher.register(rule);
  patcher.patch(new Toy(layers));
  return patcher;
}

const covered = vectors.filter(({ what }) => what in cases);

test.each(covered.filter(({ error }) => error !== undefined))("$what: is refused, naming the rule", (vector) => {
  expect(() => run(vector)).toThrow(/"r1"/);
});

test.each(covered.filter(({ error }) => error === undefined))("$what", (vector) => {
  const patcher = run(vector);
  const history = vector.result?.history ?? [];
  expect(patcher.summary()).toBe(vector.result?.summary);
  expect(patcher.rules.map(({ id }) => id)).toEqual(vector.result?.rules_left);
  const rows = patcher.records.map(({ ruleId, moduleClass, moduleName }) => [ruleId, moduleClass, moduleName]);
  expect(rows).toEqual(history.map((row) => [row.rule_id, row.cls, row.module_name]));
  // The reference names parents relative to the module that a list of branches is for.
  for (const [index, row] of history.entries()) {
    if (row.parent_module_name === "") continue;
    expect(patcher.records[index]).toMatchObject({ parentPath: row.parent_module_name, parentClass: row.parent_cls });
  }
  const conflicts = patcher.conflicts.map(
    ({ ruleId, moduleName, appliedRuleId }) =>
      `rule ${ruleId} is ignored on ${moduleName} as an earlier rule ${appliedRuleId} has been applied`,
  );
  expect(conflicts).toEqual(vector.warnings);
});
