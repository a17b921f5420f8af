/** What can be done with a model, found out by doing it: README's table of architectures is what these say. */
import { AdamW, noGrad, scope, tensor } from "@fms-accel/tensor";

import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";
import { generate } from "../../src/generation/generate.ts";
import { getPeftModel } from "../../src/peft/peft-model.ts";
import { LoraConfig } from "../../src/peft/lora-config.ts";
import type { CausalLM, CausalLMInputs } from "../../src/modeling/causal-lm.ts";

export interface Ability {
  readonly title: string;
  /** Does it; throws, or returns a reason, where it does not work. */
  readonly attempt: (open: () => Promise<CausalLM>) => Promise<string | undefined>;
}

const LENGTH = 12;

function ids(model: CausalLM, rows: number, step = 7): Int32Array {
  return Int32Array.from({ length: rows * LENGTH }, (_, at) => (at * step + 3) % model.config.vocabSize);
}

function batch(model: CausalLM): CausalLMInputs {
  const inputIds = tensor(ids(model, 2), { shape: [2, LENGTH] });
  return { inputIds, labels: inputIds };
}

/** Losses of steps on one batch. */
function trainSteps(model: CausalLM, count: number): number[] {
  model.train();
  const params = [...model.parameters()].filter(({ requiresGrad }) => requiresGrad);
  using optimizer = new AdamW([{ params }], { lr: 5e-3 });
  return Array.from({ length: count }, () => {
    const loss = scope(() => {
      const { loss } = model.forward(batch(model));
      loss!.backward();
      return loss!.item();
    });
    optimizer.step();
    optimizer.zeroGrad();
    return loss;
  });
}

function falls(losses: readonly number[]): string | undefined {
  return losses.at(-1)! < 0.8 * losses[0]! ? undefined : `the loss goes from ${losses[0]} to ${losses.at(-1)}`;
}

function logits(model: CausalLM, inputs: CausalLMInputs): Float32Array {
  model.eval();
  return scope(() => noGrad(() => model.forward(inputs).logits.toFloat32Array()));
}

function farthest(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, value, at) => Math.max(most, Math.abs(value - b[at]!)), 0);
}

/** The most likely token again and again, every time from the whole text. */
function greedyWithoutCache(model: CausalLM, prompt: readonly number[], count: number): number[] {
  const text = [...prompt];
  for (let step = 0; step < count; step++) {
    const all = logits(model, { inputIds: tensor(Int32Array.from(text), { shape: [1, text.length] }) });
    const last = all.subarray(-model.config.vocabSize);
    text.push(last.indexOf(last.reduce((a, b) => Math.max(a, b))));
  }
  return text.slice(prompt.length);
}

function adapted(model: CausalLM): ReturnType<typeof getPeftModel> {
  return getPeftModel(model, new LoraConfig({ r: 4, loraAlpha: 16, targetModules: "all-linear" }), {
    onWarning: () => {},
  });
}

export const ABILITIES: readonly Ability[] = [
  {
    title: "training",
    attempt: async (open) => {
      // A new model: the weights of an opened one lie in its file.
      const { config } = await open();
      return falls(trainSteps(AutoModelForCausalLM.fromConfig(config, { dtype: "float32" }), 20));
    },
  },
  {
    title: "LoRA",
    attempt: async (open) => {
      const base = await open();
      const before = logits(base, batch(base));
      const model = adapted(base);
      const problem = falls(trainSteps(model, 30));
      const after = model.disableAdapter(() => logits(model, batch(model)));
      return problem ?? (farthest(before, after) === 0 ? undefined : "the base model has changed");
    },
  },
  {
    title: "generation",
    attempt: async (open) => {
      const model = await open();
      const prompt = [...ids(model, 1)].slice(0, 6);
      const { tokens } = await generate(
        model,
        { inputIds: [prompt] },
        { maxNewTokens: 8, doSample: false, eosTokenId: [] },
      );
      const expected = greedyWithoutCache(model, prompt, 8);
      return tokens[0]!.join() === expected.join()
        ? undefined
        : `${tokens[0]!.join()} with a cache, ${expected.join()} without`;
    },
  },
  {
    title: "merge",
    attempt: async (open) => {
      const model = adapted(await open());
      trainSteps(model, 5);
      const expected = logits(model, batch(model));
      const merged = model.mergeAndUnload();
      const difference = farthest(expected, logits(merged, batch(merged)));
      return difference < 1e-4 ? undefined : `logits differ by ${difference}`;
    },
  },
  {
    title: "packing",
    attempt: async (open) => {
      const model = await open();
      const [first, second] = [ids(model, 1), ids(model, 1, 5)];
      const alone = [first, second].map((row) => logits(model, { inputIds: tensor(row, { shape: [1, LENGTH] }) }));
      const packed = tensor(Int32Array.from([...first, ...second]), { shape: [1, 2 * LENGTH] });
      const positions = Int32Array.from({ length: 2 * LENGTH }, (_, at) => at % LENGTH);
      const together = logits(model, { inputIds: packed, positionIds: tensor(positions, { shape: [1, 2 * LENGTH] }) });
      const difference = farthest(Float32Array.from(alone.flatMap((row) => [...row])), together);
      return difference < 2e-5 ? undefined : `logits differ by ${difference}`;
    },
  },
];
