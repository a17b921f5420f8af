/**
 * Packed, padding-free, padded and one by one are the same training, for each architecture; packing that lets sequences see each other is
 * found out.
 */
import { ModelPatcher } from "@fms-accel/framework";
import { getPeftModel, LoraConfig } from "@fms-accel/models";
import { autocast, engineExternal, engineInfo, memoryStats, scope, TensorError } from "@fms-accel/tensor";
import { readJsonFixture, relativeDifference } from "@fms-accel/test-utilities";
import { collate, type Sample } from "@fms-accel/trainer";
import { afterEach, describe, expect, test } from "vitest";
import { collatePackedRows } from "../../src/data/packed-rows.ts";
import { nativeAddon } from "../../src/native.ts";
import { flattenSamples } from "../../src/padding-free/flatten-samples.ts";
import { paddingFreeRule } from "../../src/padding-free/padding-free-rule.ts";
import {
  goldenInput,
  goldenSamples,
  goldenTensors,
  hasRouterLoss,
  leakingBatch,
  LENGTH_DEPENDENT,
  MODELS,
  openGoldenModel,
  stepNumbers,
  type StepNumbers,
} from "../support/golden-models.ts";

const LOSS = 1e-6;
const GRADIENT = 1e-5;

function patched<M extends Parameters<ModelPatcher["patch"]>[0]>(
  model: M,
): { model: M; said: string[]; summary: string } {
  const said: string[] = [];
  const patcher = new ModelPatcher();
  patcher.register(paddingFreeRule((line) => said.push(line)));
  patcher.patch(model);
  return { model, said, summary: patcher.summary() };
}

/** Relative differences of two steps: of the loss, and the largest of all gradients. */
function differences(found: StepNumbers, expected: StepNumbers): { loss: number; gradient: number } {
  expect([...found.gradients.keys()]).toEqual([...expected.gradients.keys()]);
  const gradients = [...found.gradients].map(([name, gradient]) =>
    relativeDifference(gradient, expected.gradients.get(name)!),
  );
  return { loss: Math.abs(found.loss / expected.loss - 1), gradient: Math.max(...gradients) };
}

function expectSame(found: StepNumbers, expected: StepNumbers, label: string): void {
  const { loss, gradient } = differences(found, expected);
  expect(loss, `${label}: loss`).toBeLessThanOrEqual(LOSS);
  expect(gradient, `${label}: gradients`).toBeLessThanOrEqual(GRADIENT);
}

const padded = (samples: readonly Sample[]) => collate(samples, { padTokenId: 0 });
const packed = (samples: readonly Sample[]) => collatePackedRows(halves(samples), { padTokenId: 0 });
const halves = (samples: readonly Sample[]) =>
  [samples.slice(0, 2), samples.slice(2)].filter((half) => half.length > 0);

describe.each(MODELS)("%s", (name) => {
  // Three samples and more of other lengths, so that windows of 6 and several borders matter.
  const samples = goldenSamples(name);
  // The router loss looks at all tokens of a micro-batch at once, so it differs between ways to cut a step into micro-batches.
  const changes = hasRouterLoss(name) ? { output_router_logits: false } : {};

  test("packed = padding-free = padded = one by one, accumulated or not", async () => {
    const expected = stepNumbers(await openGoldenModel(name, changes), [padded(samples)]);
    const { model, said } = patched(await openGoldenModel(name, changes));
    expectSame(stepNumbers(model, [flattenSamples(samples)]), expected, "padding-free");
    expectSame(stepNumbers(model, [packed(samples)]), expected, "packed rows");
    if (!LENGTH_DEPENDENT.includes(name)) {
      const unpatched = await openGoldenModel(name, changes);
      expectSame(
        stepNumbers(
          unpatched,
          samples.map((sample) => padded([sample])),
        ),
        expected,
        "one by one",
      );
      const accumulated = halves(samples).map((half) => flattenSamples(half));
      expectSame(stepNumbers(model, accumulated), expected, "padding-free, accumulated");
    }
    expect(said).toEqual([]);
  });

  test("packing that lets samples see each other fails this check", async () => {
    const { model } = patched(await openGoldenModel(name, changes));
    const expected = stepNumbers(model, [padded(samples)]);
    const { loss, gradient } = differences(stepNumbers(model, [leakingBatch(samples)]), expected);
    expect(loss).toBeGreaterThan(10 * LOSS);
    expect(gradient).toBeGreaterThan(10 * GRADIENT);
  });

  test("the reference's packed row, through the kernel", async () => {
    const fixture = goldenTensors(name);
    const document = readJsonFixture<{ lengths: number[]; packed: { loss: number } }>("models", name, "expected.json");
    const { model, said } = patched(await openGoldenModel(name, changes));
    const oneRow = LENGTH_DEPENDENT.includes(name);
    const { logits, loss } = scope(() => {
      const output = model.forward({
        inputIds: goldenInput(fixture, "packed.input_ids"),
        positionIds: goldenInput(fixture, "packed.position_ids"),
        labels: goldenInput(fixture, "packed.labels"),
      });
      output.loss!.backward();
      return { logits: output.logits.toFloat32Array(), loss: output.loss!.item() };
    });
    const expected = fixture.get(oneRow ? "packed.logits_one_row" : "packed.logits");
    if (expected !== undefined)
      expect(relativeDifference(logits, expected.data as Float32Array)).toBeLessThanOrEqual(GRADIENT);
    if (!oneRow) {
      expect(Math.abs(loss / document.packed.loss - 1)).toBeLessThanOrEqual(LOSS);
      for (const [key, parameter] of model.namedParameters()) {
        const gradient = fixture.get(`packed.grad.${key}`);
        if (gradient === undefined) continue;
        const difference = relativeDifference(parameter.grad!.toFloat32Array(), gradient.data);
        expect(difference, key).toBeLessThanOrEqual(GRADIENT);
      }
    }
    expect(said).toEqual([]);
  });
});

test.each(MODELS.filter(hasRouterLoss))("%s: the router loss of a batch is that of the padded one", async (name) => {
  const samples = goldenSamples(name);
  const { model } = patched(await openGoldenModel(name));
  expectSame(stepNumbers(model, [flattenSamples(samples)]), stepNumbers(model, [padded(samples)]), "with router loss");
});

afterEach(() => nativeAddon().attach(engineExternal(), engineInfo().isa, TensorError));
test.each(["mistral", "gemma2", "gpt_bigcode"])("%s: on every instruction set", async (name) => {
  const samples = goldenSamples(name);
  const expected = stepNumbers(await openGoldenModel(name), [padded(samples)]);
  const { model } = patched(await openGoldenModel(name));
  for (const isa of engineInfo().availableIsas) {
    nativeAddon().attach(engineExternal(), isa, TensorError);
    expectSame(stepNumbers(model, [flattenSamples(samples)]), expected, isa);
  }
});

test.each(["llama", "gemma3_text", "gpt2", "mixtral"])(
  "%s: LoRA, with and without gradient checkpointing",
  async (name) => {
    const samples = goldenSamples(name);
    const changes = hasRouterLoss(name) ? { output_router_logits: false } : {};
    const adapted = async () => {
      const model = getPeftModel(
        await openGoldenModel(name, changes),
        new LoraConfig({ r: 4, loraAlpha: 8, loraDropout: 0, targetModules: "all-linear", initLoraWeights: false }),
      );
      model.train();
      return model;
    };
    const model = await adapted();
    const expected = stepNumbers(model, [padded(samples)]);
    const { summary } = patched(model);
    expect(summary).toMatch(/Rule: padding-free +Module: \w+ +Class: \w+ +Num: +1$/);
    expectSame(stepNumbers(model, [flattenSamples(samples)]), expected, "LoRA");
    model.gradientCheckpointing = true;
    expectSame(stepNumbers(model, [flattenSamples(samples)]), expected, "LoRA, checkpointed");
  },
);

test("full tuning with gradient checkpointing; nothing is left behind", async () => {
  const samples = goldenSamples("qwen2-window");
  const { model } = patched(await openGoldenModel("qwen2-window"));
  model.train();
  const expected = stepNumbers(model, [padded(samples)]);
  model.gradientCheckpointing = true;
  expectSame(stepNumbers(model, [flattenSamples(samples)]), expected, "checkpointed");
  const { liveTensors } = memoryStats();
  stepNumbers(model, [flattenSamples(samples)]);
  expect(memoryStats().liveTensors).toBe(liveTensors);
});

test("mixed precision stays near float32", async () => {
  const samples = goldenSamples("llama");
  const { model } = patched(await openGoldenModel("llama"));
  const expected = stepNumbers(model, [padded(samples)]);
  const found = autocast("bfloat16", () => stepNumbers(model, [flattenSamples(samples)]));
  expect(Math.abs(found.loss / expected.loss - 1)).toBeLessThan(5e-3);
});
