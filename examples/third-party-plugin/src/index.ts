import { definePlugin, modelPatcherRule, moduleIs, type AccelerationPlugin } from "@fms-accel/framework";
import { add, Embedding, empty, Generator, uniform_, type Tensor } from "@fms-accel/tensor";
import { z } from "zod";

/** Names of token embeddings: of Llama and most others, of GPT-2 and GPTBigCode, of GPT-NeoX. */
const TOKEN_EMBEDDINGS = new Set(["embed_tokens", "wte", "embed_in"]);

/**
 * NEFTune (Jain et al., "Noisy embeddings improve instruction finetuning", 2023): while training, uniform noise from
 * [-alpha / sqrt(L d), alpha / sqrt(L d)) is added to the embeddings of L tokens with d features.
 */
const neftune = definePlugin({
  name: "NeftunePlugin",
  description: "Adds uniform noise to embeddings while training (NEFTune).",
  paths: { allOf: ["training.neftune"] },
  schemas: {
    "training.neftune": z.strictObject({
      noise_alpha: z.number().positive().default(5).describe("Strength of the noise; the paper tries 5, 10 and 15."),
    }),
  },
  options: [
    {
      name: "neftune",
      path: "training.neftune",
      help: "Noise on embeddings while training, of this strength.",
      values: [{ name: "noise_alpha", type: "number", default: 5, above: 0, help: "Strength of the noise." }],
    },
  ],

  activate(configuration) {
    const alpha = configuration["training.neftune"].noise_alpha;
    const generator = new Generator(0);
    return {
      augment: () => ({
        rules: [
          modelPatcherRule({
            id: "neftune",
            trigger: moduleIs(Embedding),
            forwardBuilder: (module, { name, original }) =>
              TOKEN_EMBEDDINGS.has(name)
                ? (ids) => (module.training ? addNoise(original(ids), alpha, generator) : original(ids))
                : undefined,
          }),
        ],
      }),
      // The noise of a step depends on the seed and the step alone, so that a resumed run gives the same bits.
      callbacks: ({ args }) => [
        {
          onStepBegin({ state }) {
            generator.setState({ seed: BigInt(args.seed), offset: BigInt(state.globalStep) << 40n });
          },
        },
      ],
    };
  },
});

/** hidden [batch, tokens, features] + noise of the same shape and dtype */
function addNoise(hidden: Tensor, alpha: number, generator: Generator): Tensor {
  const [tokens = 1, features = 1] = hidden.shape.slice(-2);
  const limit = alpha / Math.sqrt(tokens * features);
  const noise = uniform_(empty(hidden.shape, { dtype: hidden.dtype, device: hidden.device }), -limit, limit, generator);
  return add(hidden, noise);
}

export const plugins: readonly AccelerationPlugin[] = [neftune];
