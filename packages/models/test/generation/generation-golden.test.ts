/** Greedy tokens as transformers generates them: alone, in a left-padded batch, with a stop token. */
import { tensor } from "@fms-accel/tensor";
import { fixturePath, readJsonFixture } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";
import { generate, type GenerativeModel } from "../../src/generation/generate.ts";
import type { GenerationOptions } from "../../src/generation/generation-config.ts";
import { DENSE_CASES } from "../architectures/golden.ts";

interface Greedy {
  new_tokens: number;
  pad_token_id: number;
  prompts: number[][];
  greedy: number[][];
  greedy_without_cache?: number[][];
  left_padded_batch: { input_ids: number[][]; attention_mask: number[][]; greedy: number[][] };
  stop: { eos_token_id: number; left_padded_batch_greedy: number[][] };
}

const integers = (rows: number[][]) =>
  tensor(Int32Array.from(rows.flat()), { shape: [rows.length, rows[0]?.length ?? 0] });

const EXPERT_CASES = ["mixtral", "granitemoe", "granitemoeshared", "qwen3_moe"];

describe.each([...DENSE_CASES, ...EXPERT_CASES])("%s", (name) => {
  const { generation: expected } = readJsonFixture<{ generation: Greedy }>("models", name, "expected.json");
  const settings: GenerationOptions = {
    maxNewTokens: expected.new_tokens,
    padTokenId: expected.pad_token_id,
    eosTokenId: [],
  };
  const open = (): Promise<GenerativeModel> =>
    AutoModelForCausalLM.fromPretrained(fixturePath("models", name), { dtype: "float32" });
  const padded = () => ({
    inputIds: integers(expected.left_padded_batch.input_ids),
    attentionMask: integers(expected.left_padded_batch.attention_mask),
  });

  it("each prompt alone", async () => {
    for (const [index, prompt] of expected.prompts.entries()) {
      const { tokens, finishReasons } = await generate(await open(), { inputIds: [prompt] }, settings);
      expect(tokens[0]).toEqual(expected.greedy[index]);
      expect(finishReasons).toEqual(["length"]);
    }
  });

  it("without a cache", async () => {
    const wanted = expected.greedy_without_cache ?? expected.greedy;
    for (const [index, prompt] of expected.prompts.entries()) {
      const { tokens } = await generate(await open(), { inputIds: [prompt] }, { ...settings, useCache: false });
      expect(tokens[0]).toEqual(wanted[index]);
    }
  });

  it("as a left-padded batch", async () => {
    const { tokens } = await generate(await open(), padded(), settings);
    expect(tokens).toEqual(expected.left_padded_batch.greedy);
    // prompts of different lengths are padded here
    const again = await generate(await open(), { inputIds: expected.prompts }, settings);
    expect(again.tokens).toEqual(expected.left_padded_batch.greedy);
  });

  it("as a left-padded batch with a stop token", async () => {
    const eosTokenId = expected.stop.eos_token_id;
    const { tokens, finishReasons } = await generate(await open(), padded(), { ...settings, eosTokenId });
    const wanted = expected.stop.left_padded_batch_greedy.map((row) => {
      const end = row.indexOf(eosTokenId);
      return end < 0 ? row : row.slice(0, end + 1);
    });
    expect(tokens).toEqual(wanted);
    expect(finishReasons).toEqual(wanted.map((row) => (row.at(-1) === eosTokenId ? "eos" : "length")));
  });
});
