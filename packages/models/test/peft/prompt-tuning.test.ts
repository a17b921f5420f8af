/** Prompt tuning as PEFT computes it: logits, loss, gradient, generation, and the way to disk and back. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import {
  expectClose,
  fixturePath,
  readJsonFixture,
  readSafetensors,
  type ReferenceTensor,
  relativeDifference,
  temporaryDirectory,
} from "@fms-accel/test-utilities";
import { Generator, scope, tensor, type Tensor } from "@fms-accel/tensor";
import { describe, expect, it } from "vitest";

import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";
import { generate } from "../../src/generation/generate.ts";
import type { CausalLM } from "../../src/modeling/causal-lm.ts";
import { openAdapter } from "../../src/peft/open-adapter.ts";
import { PeftModel } from "../../src/peft/peft-model.ts";
import { PromptTuningConfig } from "../../src/peft/prompt-tuning-config.ts";
import { PromptTuningModel } from "../../src/peft/prompt-tuning-model.ts";

const cases = readdirSync(fixturePath("prompt-tuning"));
const directoryOf = (name: string): string => fixturePath("prompt-tuning", name);
const saved = temporaryDirectory();

const base = (name: string): Promise<CausalLM> =>
  AutoModelForCausalLM.fromPretrained(fixturePath("models", name), { onWarning: () => {} });
const baseOf = (name: string): string => name.replace("prompt-", "");

interface Expected {
  loss: number;
  greedy: number[];
}

const integers = (reference: ReadonlyMap<string, ReferenceTensor>, name: string): Tensor => {
  const { data, shape } = reference.get(name)!;
  return tensor(data, { shape });
};

describe.each(cases)("%s", (name) => {
  const reference = readSafetensors(join(directoryOf(name), "expected.safetensors"));
  const expected = readJsonFixture<Expected>("prompt-tuning", name, "expected.json");
  const mask = reference.get("attention_mask")!;
  const [, length] = mask.shape as [number, number];
  const open = async (isTrainable = false): Promise<PromptTuningModel> =>
    (await openAdapter(await base(baseOf(name)), directoryOf(name), { isTrainable })) as PromptTuningModel;

  it("logits, loss and gradient", async () => {
    const model = await open(true);
    const virtual = model.virtualTokens;
    /** Virtual tokens and real ones: what stands on padding means nothing. */
    const real = (logits: ArrayLike<number>): number[] => {
      const width = logits.length / (2 * (virtual + length));
      return Array.from(logits).filter((_, at) => {
        const row = Math.floor(at / width / (virtual + length));
        const column = Math.floor(at / width) % (virtual + length);
        return column < virtual || mask.data[row * length + column - virtual] === 1;
      });
    };
    const [inputIds, attentionMask, labels] = ["input_ids", "attention_mask", "labels"].map((key) =>
      integers(reference, key),
    ) as [Tensor, Tensor, Tensor];
    const { logits } = model.forward({ inputIds, attentionMask });
    expect(logits.shape).toEqual(reference.get("logits")!.shape);
    expectClose(real(logits.toFloat32Array()), real(reference.get("logits")!.data), { absolute: 1e-5 }, "logits");
    for (const gradientCheckpointing of [false, true]) {
      model.gradientCheckpointing = gradientCheckpointing;
      for (const parameter of model.parameters()) {
        parameter.grad?.dispose();
        parameter.grad = undefined;
      }
      scope(() => {
        const loss = model.forward({ inputIds, attentionMask, labels }).loss!;
        expect(Math.abs(loss.item() / expected.loss - 1)).toBeLessThanOrEqual(1e-6);
        loss.backward();
      });
      const trained = [...model.namedParameters()].filter(([, parameter]) => parameter.grad !== undefined);
      expect(trained.map(([key]) => key)).toEqual(["prompt_encoder.default.embedding.weight"]);
      const gradient = trained[0]![1].grad!.toFloat32Array();
      expect(relativeDifference(gradient, reference.get("grad.prompt_embeddings")!.data)).toBeLessThanOrEqual(1e-5);
    }
  });

  it("generates with the cache and without, alone and beside longer prompts", async () => {
    const model = await open();
    const ids = [...reference.get("input_ids")!.data.subarray(length)].map(Number);
    const options = { maxNewTokens: 8, doSample: false, eosTokenId: [] };
    for (const useCache of [true, false]) {
      const alone = await generate(model, { inputIds: [ids] }, { ...options, useCache });
      expect(alone.tokens[0]).toEqual(expected.greedy);
      const beside = await generate(model, { inputIds: [[...ids, 5, 6, 7], ids] }, { ...options, useCache });
      expect(beside.tokens[1]).toEqual(expected.greedy);
    }
  });

  it("saved again: the same bytes", async () => {
    const model = await open();
    const directory = join(saved, name);
    model.savePretrained(directory);
    const read = (folder: string, file: string): Buffer => readFileSync(join(folder, file));
    expect(read(directory, "adapter_config.json").toString()).toBe(
      read(directoryOf(name), "adapter_config.json").toString().trimEnd(),
    );
    const file = "adapter_model.safetensors";
    expect(Buffer.compare(read(directory, file), read(directoryOf(name), file))).toBe(0);
  });

  it("starts where PEFT starts", async () => {
    const config = PromptTuningConfig.fromPretrained(directoryOf(name));
    const tokenizerNameOrPath = fixturePath("models", baseOf(name));
    const model = await PromptTuningModel.create(
      await base(baseOf(name)),
      config.with({ tokenizerNameOrPath, inferenceMode: false }),
      { generator: new Generator(1) },
    );
    const found = model.adapterStateDict().get("prompt_embeddings")!;
    const { data, shape } = reference.get("initial")!;
    expect(found.shape).toEqual(shape);
    expect(found.dtype).toBe("float32");
    if (config.promptTuningInit === "TEXT") {
      expectClose(found.toFloat32Array(), data, { relative: 1e-7 });
    } else {
      expect(found.toFloat32Array().every((value) => Number.isFinite(value) && value !== 0)).toBe(true);
    }
  });
});

describe("prompt tuning", () => {
  const create = async (options = {}): Promise<PromptTuningModel> =>
    PromptTuningModel.create(await base("llama"), new PromptTuningConfig({ numVirtualTokens: 2, ...options }), {
      generator: new Generator(2),
    });
  const inputIds = tensor(Int32Array.from([5, 6, 7, 8]), { shape: [1, 4] });

  it("switched off or taken out, it leaves the model as it was", async () => {
    const plain = (await base("llama")).forward({ inputIds }).logits.toFloat32Array();
    const model = await create();
    expect(model.forward({ inputIds }).logits.shape[1]).toBe(6);
    expect(model.disableAdapter(() => model.forward({ inputIds }).logits.toFloat32Array())).toEqual(plain);
    expect(model.unload().forward({ inputIds }).logits.toFloat32Array()).toEqual(plain);
  });

  it("refuses rows of several sequences", async () => {
    const model = await create();
    const sequenceIds = tensor(Int32Array.from([0, 0, 1, 1]), { shape: [1, 4] });
    const positionIds = tensor(Int32Array.from([0, 1, 0, 1]), { shape: [1, 4] });
    expect(() => model.forward({ inputIds, sequenceIds })).toThrow(/Give every sequence a row/);
    expect(() => model.forward({ inputIds, positionIds })).toThrow(/Give every sequence a row/);
  });

  it.each<[what: string, options: object, complaint: RegExp]>([
    ["an unknown start", { promptTuningInit: "ZERO" }, /must be "TEXT", "SAMPLE_VOCAB", "RANDOM"/],
    ["no vectors", { numVirtualTokens: 0 }, /numVirtualTokens.*positive integer/],
    ["a text without a tokenizer", { promptTuningInit: "TEXT", promptTuningInitText: "a" }, /tokenizerNameOrPath/],
    ["a text that is empty", { promptTuningInit: "TEXT", tokenizerNameOrPath: "x" }, /promptTuningInitText/],
    ["an unknown field", { virtualTokens: 3 }, /virtualTokens/],
  ])("refuses %s", (_, options, complaint) => {
    expect(() => new PromptTuningConfig(options)).toThrow(complaint);
  });

  it("refuses vectors of another model, and other kinds of adapters", async () => {
    const directory = join(saved, "own");
    (await create()).savePretrained(directory);
    await expect(PeftModel.fromPretrained(await base("llama"), directory)).rejects.toThrow(/"PROMPT_TUNING"/);
    const file = join(directory, "adapter_config.json");
    writeFileSync(file, readFileSync(file, "utf8").replace('"num_virtual_tokens": 2', '"num_virtual_tokens": 3'));
    await expect(PromptTuningModel.fromPretrained(await base("llama"), directory)).rejects.toThrow(
      /\[3, 32\], found \[2, 32\]/,
    );
    await expect(
      PromptTuningModel.fromPretrained(await base("llama"), fixturePath("lora", "llama-qv")),
    ).rejects.toThrow(/only adapters of type "PROMPT_TUNING"/);
  });
});
