import { describe, expect, it } from "vitest";

import { GenerationError } from "../../src/generation/errors.ts";
import { GenerationConfig, type GenerationOptions } from "../../src/generation/generation-config.ts";

import { Chance, fuzzCount, mutateJson } from "../fuzz.ts";

const model = { bosTokenId: 1, eosTokenIds: [2], padTokenId: undefined };

describe("generation settings", () => {
  it("have transformers' defaults", () => {
    expect(new GenerationConfig()).toMatchObject({
      doSample: false,
      temperature: 1,
      topK: 50,
      topP: 1,
      minP: 0,
      repetitionPenalty: 1,
      eosTokenIds: [],
      useCache: true,
    });
    expect(new GenerationConfig().newTokenLimit(7)).toBe(20);
  });

  it("the caller comes first, then generation_config.json, then config.json", () => {
    const stored = {
      eos_token_id: [3, 4],
      temperature: 0.6,
      do_sample: true,
      transformers_version: "5.23.0",
      top_k: null,
    };
    const config = GenerationConfig.forModel(model, stored, { temperature: 0.9, topP: null });
    expect(config).toMatchObject({ eosTokenIds: [3, 4], temperature: 0.9, doSample: true, topK: 50, padTokenId: 3 });
    expect(GenerationConfig.forModel(model, { newer_option: null }).warnings).toEqual([
      expect.stringMatching(/ignored 1 unknown key.*generation_config\.json: "newer_option"/),
    ]);
    expect(GenerationConfig.forModel(model, { temperature: 0 }).temperature).toBe(0);
    expect(GenerationConfig.forModel(model, {}).eosTokenIds).toEqual([2]);
    expect(GenerationConfig.forModel(model, { pad_token_id: -1 }).padTokenId).toBe(2);
    expect(GenerationConfig.forModel({ ...model, eosTokenIds: [] }, {}).padTokenId).toBe(0);
    expect(GenerationConfig.forModel(model, { eos_token_id: 7 }, { eosTokenId: [8, 9] }).eosTokenIds).toEqual([8, 9]);
  });

  it("lengths count new tokens, or those of the prompt too", () => {
    expect(new GenerationConfig({ maxLength: 10 }).newTokenLimit(7)).toBe(3);
    expect(new GenerationConfig({ maxLength: 10 }).newTokenLimit(12)).toBe(0);
    expect(new GenerationConfig({ maxLength: 10, maxNewTokens: 5 }).newTokenLimit(12)).toBe(5);
    expect(new GenerationConfig({ minLength: 10 }).newTokenMinimum(7)).toBe(3);
    expect(new GenerationConfig({ minLength: 10, minNewTokens: 5 }).newTokenMinimum(12)).toBe(5);
  });

  it.each<[what: string, options: object, complaint: RegExp]>([
    ["temperature 0 when sampling", { temperature: 0, doSample: true }, /"temperature" must be above 0/],
    ["a negative temperature", { temperature: -1 }, /"temperature" must be a number from 0, or null/],
    ["top p above 1", { topP: 1.5 }, /"topP" must be a number from 0 up to 1/],
    ["a negative top k", { topK: -1 }, /"topK"/],
    ["a negative token", { eosTokenId: -1 }, /"eosTokenId"/],
    ["half a token", { maxNewTokens: 1.5 }, /"maxNewTokens"/],
    ["beams", { numBeams: 4 }, /"numBeams" is 4, which is not implemented/],
    ["an unknown name", { maxNewToken: 4 }, /"maxNewToken" is not a key of a generation configuration.*"maxNewTokens"/],
    ["NaN", { temperature: Number.NaN }, /"temperature"/],
  ])("refuses %s", (_, options, complaint) => {
    expect(() => new GenerationConfig(options as GenerationOptions)).toThrow(GenerationError);
    expect(() => new GenerationConfig(options as GenerationOptions)).toThrow(complaint);
  });

  it("refuses what a model's file asks for and is not implemented, under its name there", () => {
    expect(() => GenerationConfig.forModel(model, { no_repeat_ngram_size: 3 })).toThrow(
      /generation_config\.json: "no_repeat_ngram_size" is 3, which is not implemented/,
    );
    expect(() => GenerationConfig.forModel(model, { constructor: 1 })).toThrow(/"constructor" is not a key/);
  });

  it("mutated files give settings, or one clear error", () => {
    const chance = new Chance(4);
    const file = {
      bos_token_id: 1,
      eos_token_id: [2, 3],
      pad_token_id: 0,
      do_sample: true,
      temperature: 0.6,
      top_k: 20,
      top_p: 0.9,
      repetition_penalty: 1.05,
      max_length: 100,
      num_beams: 1,
      transformers_version: "5.23.0",
    };
    let refused = 0;
    for (let count = fuzzCount(500); count > 0; count--) {
      const { value, touched } = mutateJson(file, chance);
      try {
        const config = GenerationConfig.forModel(model, value as Record<string, unknown>);
        expect(config.newTokenLimit(3), touched.join()).toBeGreaterThanOrEqual(0);
        expect(config.temperature > 0 || !config.doSample).toBe(true);
      } catch (error) {
        expect(error, touched.join()).toBeInstanceOf(GenerationError);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(0);
  });
});
