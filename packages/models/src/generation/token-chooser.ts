import { type Generator, rand } from "@fms-accel/tensor";

import { GenerationError } from "./errors.ts";
import type { GenerationConfig } from "./generation-config.ts";
import {
  applyRepetitionPenalty,
  applyTemperature,
  keepMinP,
  keepTopK,
  keepTopP,
  softmax,
  suppress,
} from "./logits-processors.ts";

/** Chooses next tokens: the most probable one, or a random one by its probability after temperature and filters. */
export class TokenChooser {
  readonly #config: GenerationConfig;
  readonly #generator: Generator | undefined;

  /** @param generator for sampling; default: the tensor engine's */
  constructor(config: GenerationConfig, generator: Generator | undefined) {
    this.#config = config;
    this.#generator = generator;
  }

  /**
   * Chooses one token a row. Every row uses up the same random numbers whether it is still running or not, so that what one
   * row gets does not depend on when another one ends.
   *
   * @param rows logits of each row; they are changed
   * @param history tokens of each row so far, prompt included and padding not
   * @param mayEnd whether end-of-sequence tokens are allowed
   */
  choose(rows: readonly Float32Array[], history: readonly (readonly number[])[], mayEnd: boolean): number[] {
    const { doSample, repetitionPenalty, eosTokenIds } = this.#config;
    const draws = doSample ? this.#draws(rows.length) : [];
    return rows.map((logits, row) => {
      if (repetitionPenalty !== 1) {
        applyRepetitionPenalty(logits, history[row] ?? [], repetitionPenalty);
      }
      if (!mayEnd) {
        suppress(logits, eosTokenIds);
      }
      const draw = draws[row];
      return draw === undefined ? mostProbable(logits, row) : this.#sample(logits, draw, row);
    });
  }

  #sample(logits: Float32Array, draw: number, row: number): number {
    const { temperature, topK, topP, minP } = this.#config;
    if (temperature !== 1) {
      applyTemperature(logits, temperature);
    }
    if (topK > 0) {
      keepTopK(logits, topK);
    }
    if (topP < 1) {
      keepTopP(logits, topP);
    }
    if (minP > 0) {
      keepMinP(logits, minP);
    }
    const probabilities = softmax(logits);
    let last = -1;
    let cumulative = 0;
    for (let token = 0; token < probabilities.length; token++) {
      const probability = probabilities[token] ?? 0;
      if (probability > 0) {
        last = token;
        cumulative += probability;
        if (draw < cumulative) {
          return token;
        }
      }
    }
    // Rounding may leave the sum a little below a draw near 1.
    return last >= 0 ? last : refuse(row);
  }

  /** One number of [0, 1) a row, of 48 random bits: 24 would never reach tokens less probable than 6e-8. */
  #draws(rows: number): number[] {
    const halves = rand([2 * rows], this.#generator === undefined ? {} : { generator: this.#generator });
    const values = halves.toFloat32Array();
    halves.dispose();
    return Array.from({ length: rows }, (_, row) => (values[2 * row] ?? 0) + (values[2 * row + 1] ?? 0) * 2 ** -24);
  }
}

function mostProbable(logits: Float32Array, row: number): number {
  let best = -1;
  let highest = -Infinity;
  for (let token = 0; token < logits.length; token++) {
    const logit = logits[token] ?? -Infinity;
    if (logit > highest) {
      highest = logit;
      best = token;
    }
  }
  return best >= 0 && highest < Infinity ? best : refuse(row);
}

function refuse(row: number): never {
  throw new GenerationError(
    `row ${row}: the model's logits are not finite numbers, so no token can be chosen. In float16 that is often an ` +
      "overflow: load the model in bfloat16 or float32.",
  );
}
