import { fixturePath, readJsonFixture, readSafetensors, relativeDifference } from "@fms-accel/test-utilities";
import { Parameter, tensor } from "@fms-accel/tensor";
import { describe, expect, it } from "vitest";
import { TrainingCheckpointError } from "../../src/index.ts";
import { NamedAdamW } from "../../src/optimizer/named-adamw.ts";
import type { OptimizerState } from "../../src/optimizer/optimizer.ts";

interface Setting {
  readonly lr: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weight_decay: number;
}

const { settings } = readJsonFixture<{ settings: Setting[] }>("adamw.json");
const reference = readSafetensors(fixturePath("adamw.safetensors"));
const names = ["matrix", "vector", "cube"] as const;

function referenceTensor(name: string): { shape: number[]; data: Float32Array } {
  const found = reference.get(name);
  if (found === undefined) throw new Error(`the fixture has no ${name}`);
  return { shape: found.shape, data: found.data as Float32Array };
}

function start(setting: Setting, values?: readonly Float32Array[]): { optimizer: NamedAdamW; params: Parameter[] } {
  const params = names.map((name, index) => {
    const { shape, data } = referenceTensor(`start.${name}`);
    return new Parameter(tensor(values?.[index] ?? data, { shape }));
  });
  const optimizer = new NamedAdamW([{ names, params, weightDecay: setting.weight_decay }], setting);
  optimizer.setLearningRate(setting.lr);
  return { optimizer, params };
}

function step({ optimizer, params }: ReturnType<typeof start>, index: number): void {
  for (const [place, name] of names.entries()) {
    const { shape, data } = referenceTensor(`grads.${name}`);
    const size = data.length / (shape[0] ?? 1);
    const parameter = params[place];
    if (parameter !== undefined)
      parameter.grad = tensor(data.slice(index * size, (index + 1) * size), { shape: shape.slice(1) });
  }
  optimizer.step();
  optimizer.zeroGrad();
}

/** A copy that outlives its optimiser. */
function copyState({ tensors, numbers }: OptimizerState): OptimizerState {
  const copies = [...tensors].map(
    ([name, source]) => [name, tensor(source.toFloat32Array(), { shape: source.shape })] as const,
  );
  return { tensors: new Map(copies), numbers: { ...numbers } };
}

describe.each(settings.map((setting, index) => ({ setting, index })))("setting $index", ({ setting, index }) => {
  it("follows torch.optim.AdamW through a saved state", () => {
    const first = start(setting);
    for (let k = 0; k < 4; k++) step(first, k);
    const state = copyState(first.optimizer.state());
    const second = start(
      setting,
      first.params.map((parameter) => parameter.toFloat32Array()),
    );
    first.optimizer.dispose();
    second.optimizer.loadState(state);
    for (let k = 4; k < 10; k++) step(second, k);
    for (const [place, name] of names.entries()) {
      const { data } = referenceTensor(`${index}.params.${name}`);
      const own = second.params[place]?.toFloat32Array() ?? new Float32Array();
      expect(relativeDifference(own, data.slice(-own.length))).toBeLessThan(1e-6);
      for (const average of ["exp_avg", "exp_avg_sq"]) {
        const moved = second.optimizer.state().tensors.get(`${average}.${name}`)?.toFloat32Array() ?? [];
        expect(relativeDifference(moved, referenceTensor(`${index}.${average}.${name}`).data)).toBeLessThan(1e-6);
      }
    }
    expect(second.optimizer.state().numbers).toEqual({ "step.matrix": 10, "step.vector": 10, "step.cube": 10 });
  });
});

describe("a state that does not fit", () => {
  const [setting] = settings;
  if (setting === undefined) throw new Error("the fixture has no settings");
  const run = start(setting);
  step(run, 0);
  const good = copyState(run.optimizer.state());
  const without = (name: string): OptimizerState => ({
    ...good,
    tensors: new Map([...good.tensors].filter(([key]) => key !== name)),
  });

  it.each<[string, OptimizerState, string]>([
    ["half a parameter", without("exp_avg.matrix"), "the state of matrix is incomplete"],
    [
      "a parameter of another run",
      { ...good, tensors: new Map([...good.tensors, ["exp_avg.other", tensor([1])]]) },
      "not trained now: exp_avg.other",
    ],
    [
      "another shape",
      { ...good, tensors: new Map([...good.tensors, ["exp_avg.vector", tensor([1, 2])]]) },
      "has shape [2], expected [7]",
    ],
    ["a broken count", { ...good, numbers: { ...good.numbers, "step.cube": 0.5 } }, "step 0.5"],
  ])("%s", (_, state, message) => {
    const { optimizer } = start(setting);
    expect(() => optimizer.loadState(state)).toThrow(TrainingCheckpointError);
    expect(() => optimizer.loadState(state)).toThrow(message);
  });
});
