import { Generator, manualSeed, memoryStats, scope, tensor, type Tensor } from "@fms-accel/tensor";
import { fixturePath } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";
import { DynamicCache } from "../../src/generation/dynamic-cache.ts";
import { GenerationError } from "../../src/generation/errors.ts";
import { generate, generateStream } from "../../src/generation/generate.ts";
import type { CausalLM } from "../../src/modeling/causal-lm.ts";
import { LoraConfig } from "../../src/peft/lora-config.ts";
import { getPeftModel } from "../../src/peft/peft-model.ts";

const open = (name = "llama", dtype: "float32" | "bfloat16" = "float32"): Promise<CausalLM> =>
  AutoModelForCausalLM.fromPretrained(fixturePath("models", name), { dtype });

const prompt = [136, 211, 102, 63, 290];
const sampling = { doSample: true, maxNewTokens: 12, eosTokenId: [] };

const matrix = (rows: number, values: readonly number[]): Tensor =>
  tensor(Int32Array.from(values), { shape: [rows, values.length / rows] });

/** Keys or values of a batch of 2 with 3 heads of 4. */
const projections = (tokens: number, offset: number): Tensor =>
  tensor(
    Float32Array.from({ length: 2 * 3 * tokens * 4 }, (_, index) => offset + index),
    { shape: [2, 3, tokens, 4] },
  );

describe("sampling", () => {
  it("the same generator state gives the same tokens, whatever else runs", async () => {
    const model = await open();
    const sample = async (seed: number): Promise<readonly number[]> => {
      manualSeed(Math.floor(performance.now()));
      const context = { generator: new Generator(seed) };
      return (await generate(model, { inputIds: [prompt] }, sampling, context)).tokens[0]!;
    };
    expect(await sample(1)).toEqual(await sample(1));
    expect(await sample(1)).not.toEqual(await sample(2));
  });

  it("without a generator the engine's is used", async () => {
    const model = await open();
    const sample = async (seed: number): Promise<unknown> => {
      manualSeed(seed);
      return (await generate(model, { inputIds: [prompt] }, sampling)).tokens;
    };
    expect(await sample(1)).toEqual(await sample(1));
  });

  it("one token is left: greedy", async () => {
    const model = await open();
    const greedy = await generate(model, { inputIds: [prompt] }, { ...sampling, doSample: false });
    for (const filter of [{ topK: 1 }, { topP: 0 }, { minP: 1 }, { temperature: 1e-5 }]) {
      const filtered = await generate(model, { inputIds: [prompt] }, { ...sampling, ...filter });
      expect(filtered.tokens).toEqual(greedy.tokens);
    }
  });

  it("draws tokens as often as their probability says", async () => {
    const model = await open();
    const logits = scope(() => {
      const inputIds = tensor(Int32Array.from(prompt), { shape: [1, prompt.length] });
      return model.forward({ inputIds, logitsToKeep: 1 }).logits.toFloat32Array();
    });
    const ranked = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]!).slice(0, 4);
    const weights = ranked.map((token) => Math.exp(logits[token]! / 2));
    const total = weights.reduce((a, b) => a + b);
    const rows = 2000;
    const { tokens } = await generate(
      model,
      { inputIds: Array.from({ length: rows }, () => prompt) },
      { doSample: true, topK: 4, temperature: 2, maxNewTokens: 1 },
      { generator: new Generator(0) },
    );
    ranked.forEach((token, index) => {
      const share = tokens.filter(([drawn]) => drawn === token).length / rows;
      const expected = weights[index]! / total;
      expect(Math.abs(share - expected)).toBeLessThan(4 * Math.sqrt((expected * (1 - expected)) / rows));
    });
  });
});

describe("streaming", () => {
  it("yields each step, and lets other work run between", async () => {
    const model = await open();
    const greedy = await generate(model, { inputIds: [prompt, [7, 8]] }, { maxNewTokens: 5, eosTokenId: [] });
    const rows: number[][] = [[], []];
    let ticks = 0;
    const timer = setInterval(() => ticks++, 0);
    const between: number[] = [];
    for await (const { index, tokens } of generateStream(
      model,
      { inputIds: [prompt, [7, 8]] },
      { maxNewTokens: 5, eosTokenId: [] },
    )) {
      expect(index).toBe(rows[0]!.length);
      tokens.forEach((token, row) => rows[row]!.push(token!));
      between.push(ticks);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    clearInterval(timer);
    expect(rows).toEqual(greedy.tokens);
    expect(between.at(-1)).toBeGreaterThan(0);
  });

  it("rows that ended yield nothing, and do not change the others", async () => {
    const model = await open();
    const alone = await generate(model, { inputIds: [prompt] }, { maxNewTokens: 8, eosTokenId: [] });
    const [, second] = alone.tokens[0]!;
    const steps: (number | undefined)[][] = [];
    const result = await generate(
      model,
      { inputIds: [prompt, [7, 8]] },
      { maxNewTokens: 8, eosTokenId: second! },
      { onStep: ({ tokens }) => steps.push([...tokens]) },
    );
    expect(result.tokens[0]).toEqual(alone.tokens[0]!.slice(0, 2));
    expect(result.finishReasons[0]).toBe("eos");
    expect(steps.slice(2).every(([first]) => first === undefined)).toBe(true);
    const other = await generate(model, { inputIds: [[7, 8]] }, { maxNewTokens: 8, eosTokenId: second! });
    expect(result.tokens[1]).toEqual(other.tokens[0]);
  });

  it("stops when it is aborted, or when the loop is left; the model's mode comes back", async () => {
    const model = (await open()).train();
    const controller = new AbortController();
    const running = generate(
      model,
      { inputIds: [prompt] },
      { maxNewTokens: 50, eosTokenId: [] },
      {
        signal: controller.signal,
        onStep: ({ index }) => {
          expect(model.training).toBe(false);
          if (index === 2) {
            controller.abort(new Error("enough"));
          }
        },
      },
    );
    await expect(running).rejects.toThrow("enough");
    expect(model.training).toBe(true);
    for await (const { index } of generateStream(model, { inputIds: [prompt] }, { maxNewTokens: 50, eosTokenId: [] })) {
      if (index === 1) {
        break;
      }
    }
    expect(model.training).toBe(true);
  });

  it("frees what it used", async () => {
    const model = await open();
    await generate(model, { inputIds: [prompt] }, { maxNewTokens: 4, eosTokenId: [] });
    const before = memoryStats();
    for (let run = 0; run < 3; run++) {
      await generate(model, { inputIds: [prompt, [1]] }, { maxNewTokens: 30, eosTokenId: [] });
    }
    const after = memoryStats();
    expect(after.liveTensors).toBe(before.liveTensors);
    expect(after.liveBytes).toBe(before.liveBytes);
  });
});

describe("settings", () => {
  it("minimum lengths keep the end away", async () => {
    const model = await open();
    const greedy = await generate(model, { inputIds: [prompt] }, { maxNewTokens: 8, eosTokenId: [] });
    const eosTokenId = greedy.tokens[0]![1]!;
    const ended = await generate(model, { inputIds: [prompt] }, { maxNewTokens: 8, eosTokenId });
    expect(ended.tokens[0]).toHaveLength(2);
    const longer = await generate(model, { inputIds: [prompt] }, { maxNewTokens: 8, eosTokenId, minNewTokens: 5 });
    expect(longer.tokens[0]!.length).toBeGreaterThanOrEqual(5);
    expect(longer.tokens[0]!.slice(0, 4)).not.toContain(eosTokenId);
  });

  it("a strong repetition penalty repeats nothing; padding is not a repetition", async () => {
    const model = await open();
    const options = { maxNewTokens: 20, repetitionPenalty: 1e6, padTokenId: 278, eosTokenId: [] };
    const { tokens } = await generate(model, { inputIds: [prompt] }, options);
    expect(new Set([...prompt, ...tokens[0]!]).size).toBe(prompt.length + 20);
    const longer = [...prompt, ...prompt];
    const batch = await generate(model, { inputIds: [prompt, longer] }, options);
    expect(batch.tokens[0]).toEqual(tokens[0]);
  });

  it("stop strings end a row", async () => {
    const model = await open();
    const tokenizer = { decode: (tokens: readonly number[]) => tokens.map((token) => `<${token}>`).join("") };
    const { tokens } = await generate(model, { inputIds: [prompt] }, { maxNewTokens: 8, eosTokenId: [] });
    const third = tokens[0]![2]!;
    const stopped = await generate(
      model,
      { inputIds: [prompt] },
      { maxNewTokens: 8, eosTokenId: [], stopStrings: [`<${third}>`] },
      { tokenizer },
    );
    expect(stopped.tokens[0]).toEqual(tokens[0]!.slice(0, 3));
    expect(stopped.finishReasons).toEqual(["stop_string"]);
  });

  it("says when positions run out", async () => {
    const model = await open();
    const warnings: string[] = [];
    const context = { onWarning: (message: string) => void warnings.push(message) };
    const long = Array.from({ length: 120 }, (_, index) => index);
    for await (const { index } of generateStream(model, { inputIds: [long] }, { maxNewTokens: 9 }, context)) {
      expect(index).toBe(0);
      break;
    }
    expect(warnings).toEqual([]); // 128 positions: the last new token is not read again
    await generateStream(model, { inputIds: [long] }, { maxNewTokens: 10 }, context).next();
    expect(warnings).toEqual([expect.stringMatching(/need 129 positions, but the model was made for 128/)]);
  });

  it("DoRA's lengths are computed once a generation, and anew after it", async () => {
    const config = new LoraConfig({ useDora: true, r: 2, targetModules: "all-linear" });
    const model = getPeftModel(await open(), config, { generator: new Generator(1) });
    const run = async (): Promise<unknown> =>
      (await generate(model, { inputIds: [prompt] }, { maxNewTokens: 6, eosTokenId: [], useCache: false })).tokens;
    const before = await run();
    for (const [key, parameter] of model.adapterStateDict()) {
      if (key.includes("lora_B")) {
        parameter.copyFrom(Float32Array.from({ length: parameter.numel }, (_, index) => Math.sin(index)));
      }
    }
    const after = await run();
    expect(after).not.toEqual(before);
    expect(
      await generate(model.mergeAndUnload(), { inputIds: [prompt] }, { maxNewTokens: 6, eosTokenId: [] }),
    ).toMatchObject({
      tokens: after,
    });
  });

  it("works in bfloat16 and with an adapter", async () => {
    const model = getPeftModel(await open("llama", "bfloat16"), new LoraConfig());
    const { tokens } = await generate(model, { inputIds: [prompt] }, { maxNewTokens: 5, eosTokenId: [] });
    const plain = await generate(model.unload(), { inputIds: [prompt] }, { maxNewTokens: 5, eosTokenId: [] });
    expect(tokens).toEqual(plain.tokens); // B is 0
  });

  it.each<[what: string, run: (model: CausalLM) => Promise<unknown>, complaint: RegExp]>([
    ["no prompt", (model) => generate(model, { inputIds: [] }), /there is no prompt/],
    ["an empty prompt", (model) => generate(model, { inputIds: [[1], []] }), /prompt 1 is empty/],
    [
      "one dimension",
      (model) => generate(model, { inputIds: tensor(Int32Array.from([1, 2])) }),
      /shape \[batch, tokens\].*\[2\]/,
    ],
    ["no room", (model) => generate(model, { inputIds: [prompt] }, { maxLength: 5 }), /no room for new tokens/],
    [
      "padding on the right",
      (model) => {
        return generate(model, { inputIds: matrix(1, [5, 6, 0]), attentionMask: matrix(1, [1, 1, 0]) });
      },
      /row 0 has padding behind its first token/,
    ],
    [
      "a mask of another shape",
      (model) =>
        generate(model, {
          inputIds: tensor(Int32Array.from([5, 6]), { shape: [1, 2] }),
          attentionMask: tensor(Int32Array.from([1]), { shape: [1, 1] }),
        }),
      /attentionMask must have the shape of inputIds, \[1, 2\], found \[1, 1\]/,
    ],
    [
      "a row of padding",
      (model) => {
        return generate(model, { inputIds: matrix(2, [5, 6]), attentionMask: matrix(2, [1, 0]) });
      },
      /row 1 has no token/,
    ],
    [
      "logits that are not numbers",
      (model) => {
        const forward = model.forward.bind(model);
        model.forward = (inputs) => ({ ...forward(inputs), logits: tensor([[[NaN, NaN]]]) });
        return generate(model, { inputIds: [prompt] }, { maxNewTokens: 1 });
      },
      /logits are not finite/,
    ],
  ])("refuses %s", async (_, run, complaint) => {
    const failure = run(await open());
    await expect(failure).rejects.toThrow(GenerationError);
    await expect(failure).rejects.toThrow(complaint);
  });
});

describe("the cache", () => {
  it("grows, keeps what it has, and counts", () => {
    using cache = new DynamicCache({ capacity: 2 });
    const parts = [1, 3, 1, 70, 1].map((tokens, index) => projections(tokens, 1000 * index));
    let seen = 0;
    parts.forEach((part) => {
      expect(cache.length).toBe(seen);
      seen += part.shape[2]!;
      for (const layer of [0, 1]) {
        const { keys, values } = cache.update(layer, part, part);
        expect(keys.shape).toEqual([2, 3, seen, 4]);
        expect(values.toFloat32Array()).toEqual(keys.toFloat32Array());
      }
    });
    expect(cache.length).toBe(seen);
    const { keys } = cache.update(0, projections(0, 0), projections(0, 0));
    const found = keys.toFloat32Array();
    // every head holds the parts one after the other
    for (let head = 0; head < 6; head++) {
      let token = 0;
      for (const part of parts) {
        const data = part.toFloat32Array();
        const size = part.shape[2]! * 4;
        const start = (head * seen + token) * 4;
        expect(found.subarray(start, start + size)).toEqual(data.subarray(head * size, (head + 1) * size));
        token += part.shape[2]!;
      }
    }
  });

  it("refuses another batch, and frees its memory", () => {
    const before = memoryStats().liveBytes;
    const cache = new DynamicCache();
    scope(() => void cache.update(0, projections(2, 0), projections(2, 0)));
    expect(() => cache.update(0, tensor([[[[1, 2, 3, 4]]]]), tensor([[[[1, 2, 3, 4]]]]))).toThrow(
      /layer 0 of the cache holds keys of shape \[2, 3, tokens, 4\].*\[1, 1, 1, 4\]/,
    );
    cache.dispose();
    expect(memoryStats().liveBytes).toBeLessThanOrEqual(before + 64);
    expect(cache.length).toBe(0);
  });
});
