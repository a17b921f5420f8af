/** Architectures with experts against the reference: with and without the router loss, padded, packed, checkpointed. */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Tensor, tensor } from "@fms-accel/tensor";
import { expectClose, fixturePath, relativeDifference, temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";
import type { CausalLM } from "../../src/modeling/causal-lm.ts";
import { batch, type Golden, golden, inScope, maskedRows, openModel, takeGradients } from "./golden.ts";

const CASES = ["mixtral", "mixtral-v5", "granitemoe", "granitemoeshared", "qwen3_moe"];

/** Absolute, on logits of magnitude 1 to 10; relative to the largest value for gradients. */
const LOGITS = 1e-5;
const LOSS = 1e-6;
const GRADIENT = 1e-5;

interface RouterLosses {
  readonly aux_loss: number;
  readonly aux_loss_without_attention_mask: number;
  readonly router_aux_loss_coef: number;
  readonly hf_loss_without_aux: number;
}

/** mixtral-v5 is mixtral in another layout: the numbers are the same. */
const numbersOf = (name: string): Golden => golden(name === "mixtral-v5" ? "mixtral" : name);

/** The same checkpoint with the router loss switched off. */
async function openWithoutRouterLoss(name: string): Promise<CausalLM> {
  const directory = join(temporaryDirectory(), name);
  cpSync(fixturePath("models", name), directory, { recursive: true });
  const config = join(directory, "config.json");
  const settings = JSON.parse(readFileSync(config, "utf8")) as Record<string, unknown>;
  writeFileSync(config, JSON.stringify({ ...settings, output_router_logits: false }));
  return await AutoModelForCausalLM.fromPretrained(directory, { dtype: "float32" });
}

function expectGradients(found: ReadonlyMap<string, Float32Array>, fixture: Golden, prefix: string): void {
  const expected = [...fixture.tensors.keys()].filter((key) => key.startsWith(`${prefix}.`));
  expect([...found.keys()].map((key) => `${prefix}.${key}`).sort()).toEqual(expected.sort());
  for (const [key, gradient] of found) {
    expect(relativeDifference(gradient, fixture.data(`${prefix}.${key}`)), key).toBeLessThanOrEqual(GRADIENT);
  }
}

const expectLoss = (found: number, expected: number): void =>
  expect(Math.abs(found / expected - 1)).toBeLessThanOrEqual(LOSS);

/** What routers give, layer by layer, while a model runs. */
function watchRouters(model: CausalLM): Float32Array[] {
  const seen: Float32Array[] = [];
  for (const [name, module] of model.namedModules()) {
    if (/\.(gate|router\.layer)$/.test(name)) {
      const router = module as unknown as { forward: (x: Tensor) => Tensor };
      const forward = router.forward.bind(router);
      router.forward = (x) => {
        const logits = forward(x);
        seen.push(logits.toFloat32Array());
        return logits;
      };
    }
  }
  return seen;
}

describe.each(CASES)("%s", (name) => {
  const fixture = numbersOf(name);
  const losses = fixture.document.loss as Golden["document"]["loss"] & RouterLosses;
  const coefficient = losses.router_aux_loss_coef;
  const width = fixture.tensors.get("logits")!.shape[2]!;
  const mask = fixture.tensors.get("attention_mask")!.data;

  it("has the reference's logits, router logits, losses and gradients", async () => {
    const model = await openModel(name);
    const routerLogits = watchRouters(model);
    const found = inScope(() => {
      const { logits, loss, auxLoss } = model.forward(batch(fixture));
      loss!.backward();
      return { logits: logits.toFloat32Array(), loss: loss!.item(), auxLoss: auxLoss!.item() };
    });
    expectClose(
      maskedRows(found.logits, mask, width),
      maskedRows(fixture.data("logits"), mask, width),
      { absolute: LOGITS },
      "logits",
    );
    expect(routerLogits).toHaveLength(model.config.numHiddenLayers);
    for (const [layer, logits] of routerLogits.entries()) {
      const experts = fixture.tensors.get(`router_logits.${layer}`)!.shape[1]!;
      expectClose(
        maskedRows(logits, mask, experts),
        maskedRows(fixture.data(`router_logits.${layer}`), mask, experts),
        { absolute: LOGITS },
        `router logits of layer ${layer}`,
      );
    }
    expectLoss(found.loss, losses.hf_loss);
    expectLoss(found.auxLoss, coefficient * losses.aux_loss);
    expectLoss(found.loss - found.auxLoss, losses.hf_loss_without_aux);
    expectGradients(takeGradients(model), fixture, "grad");
  });

  it("adds the router loss in full, whatever the targets' loss is divided by", async () => {
    const model = await openModel(name);
    const { num_items_in_batch: numItemsInBatch, hf_loss_with_num_items_in_batch: expected } = losses;
    expectLoss(
      inScope(() => model.forward({ ...batch(fixture), numItemsInBatch }).loss!.item()),
      expected,
    );
  });

  it("counts padding in the router loss where there is no mask", async () => {
    const model = await openModel(name);
    const { inputIds, labels } = batch(fixture);
    const found = inScope(() => model.forward({ inputIds, labels }).auxLoss!.item());
    expectLoss(found, coefficient * losses.aux_loss_without_attention_mask);
  });

  it("has the reference's loss and gradients without the router loss", async () => {
    const model = await openWithoutRouterLoss(name);
    const output = inScope(() => {
      const { loss, auxLoss } = model.forward(batch(fixture));
      loss!.backward();
      return { loss: loss!.item(), auxLoss };
    });
    expect(output.auxLoss).toBeUndefined();
    expectLoss(output.loss, losses.hf_loss_without_aux);
    const gradients = takeGradients(model);
    if ([...fixture.tensors.keys()].some((key) => key.startsWith("grad_without_aux."))) {
      expectGradients(gradients, fixture, "grad_without_aux");
    }
  });

  it("gives the same gradients with gradient checkpointing", async () => {
    const model = await openModel(name);
    model.gradientCheckpointing = true;
    model.train();
    inScope(() => model.forward(batch(fixture)).loss!.backward());
    expectGradients(takeGradients(model), fixture, "grad");
  });

  it("gives the same bits every time", async () => {
    const model = await openModel(name);
    const run = (): Map<string, Float32Array> => {
      inScope(() => model.forward(batch(fixture)).loss!.backward());
      return takeGradients(model);
    };
    expect(run()).toEqual(run());
  });

  it("gives experts that no token chose gradients of 0", async () => {
    const model = await openModel(name);
    const inputIds = tensor([[5, 6]], { dtype: "int32" });
    inScope(() => model.forward({ inputIds, labels: inputIds }).loss!.backward());
    for (const [key, parameter] of model.namedParameters()) {
      expect(parameter.grad?.shape, key).toEqual(parameter.shape);
    }
    const experts = [...takeGradients(model)].filter(([key]) => /experts|input_linear|output_linear/.test(key));
    // Fused or not, four experts lie one after the other: quarters of a tensor, or a tensor each.
    const unused = experts.filter(([key, gradient]) =>
      (key.includes("experts") ? [0] : [0, 1, 2, 3]).some((part) => {
        const size = key.includes("experts") ? gradient.length : gradient.length / 4;
        return gradient.subarray(part * size, (part + 1) * size).every((value) => value === 0);
      }),
    );
    expect(experts.length).toBeGreaterThan(0);
    expect(unused.length).toBeGreaterThan(0);
    expect(unused.length).toBeLessThanOrEqual(experts.length);
  });

  it("computes a packed row as its sequences alone", async () => {
    const model = await openWithoutRouterLoss(name);
    const inputIds = fixture.input("packed.input_ids");
    const positionIds = fixture.input("packed.position_ids");
    const labels = fixture.input("packed.labels");
    const sequenceIds = tensor(
      Int32Array.from(fixture.document.lengths.flatMap((length, index) => Array.from({ length }, () => index))),
      { shape: inputIds.shape },
    );
    for (const inputs of [{ positionIds }, { positionIds, sequenceIds }]) {
      const found = inScope(() => {
        const { logits, loss } = model.forward({ inputIds, labels, ...inputs });
        loss!.backward();
        return { logits: logits.toFloat32Array(), loss: loss!.item() };
      });
      const gradients = takeGradients(model);
      expectLoss(found.loss, fixture.document.packed.loss);
      if (fixture.has("packed.logits")) {
        expectClose(found.logits, fixture.data("packed.logits"), { absolute: LOGITS }, "logits");
        expectGradients(gradients, fixture, "packed.grad");
      } else {
        // The padded batch holds the same sequences.
        const padded = maskedRows(fixture.data("logits"), mask, width);
        expectClose(found.logits, padded, { absolute: LOGITS }, "logits");
      }
    }
  });
});
