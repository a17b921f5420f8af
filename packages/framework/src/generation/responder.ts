import {
  generateStream,
  type FinishReason,
  type GenerationOptions,
  type GenerativeModel,
  type PreTrainedTokenizer,
} from "@fms-accel/models";
import { Generator } from "@fms-accel/tensor";
import { UsageError } from "../errors.ts";
import type { Prompt } from "./prompts.ts";

/** Tokens of an answer at most, when nobody said. */
const USUAL_ANSWER = 256;

/** The answer to one prompt. */
export interface Answer {
  /** What the model went on from: the prompt, or the conversation as the chat template writes it. */
  readonly prompt: string;
  readonly text: string;
  readonly promptTokens: number;
  readonly newTokens: number;
  readonly finishReason: FinishReason;
}

export interface RespondOptions {
  /** Called with every piece of text as it is made; for a single prompt. */
  readonly onText?: (text: string) => void;
  /** Stops between two tokens. */
  readonly signal?: AbortSignal;
}

/** A model and its tokenizer, ready to answer. */
export class Responder {
  readonly #model: GenerativeModel;
  readonly #tokenizer: PreTrainedTokenizer;
  readonly #options: GenerationOptions;
  readonly #generator: Generator;
  readonly #device: string;

  constructor(
    model: GenerativeModel,
    tokenizer: PreTrainedTokenizer,
    options: GenerationOptions,
    { seed, device }: { readonly seed: number; readonly device: string },
  ) {
    this.#model = model;
    this.#tokenizer = tokenizer;
    const knowsEnd = model.config.eosTokenIds.length > 0 || model.generationConfig["eos_token_id"] != null;
    this.#options = knowsEnd ? options : { eosTokenId: tokenizer.eosTokenId, ...options };
    this.#generator = new Generator(seed);
    this.#device = device;
  }

  get hasChatTemplate(): boolean {
    return this.#tokenizer.chatTemplate !== undefined;
  }

  /** Answers prompts together, as one left-padded batch. */
  async respond(prompts: readonly Prompt[], { onText, signal }: RespondOptions = {}): Promise<Answer[]> {
    const encoded = await Promise.all(prompts.map((prompt) => this.#encode(prompt)));
    const decoder = { decode: (ids: readonly number[]) => this.#tokenizer.decode(ids, decodeOptions) };
    const stream = this.#tokenizer.decodeStream(decodeOptions);
    const context = { tokenizer: decoder, generator: this.#generator, device: this.#device, signal };
    const inputs = { inputIds: encoded.map(({ ids }) => ids) };
    const longest = Math.max(...encoded.map(({ ids }) => ids.length));
    const options = { ...this.#options, maxNewTokens: this.#options.maxNewTokens ?? this.#roomAfter(longest) };
    const steps = generateStream(this.#model, inputs, options, context);
    for (;;) {
      const step = await steps.next();
      if (step.done === true) {
        onText?.(stream.finish());
        const { tokens: rows, finishReasons } = step.value;
        return encoded.map(({ text, ids }, row) => ({
          prompt: text,
          text: decoder.decode(rows[row] ?? []),
          promptTokens: ids.length,
          newTokens: rows[row]?.length ?? 0,
          finishReason: finishReasons[row] ?? "length",
        }));
      }
      const [token] = step.value.tokens;
      if (onText !== undefined && token !== undefined) onText(stream.push(token));
    }
  }

  /** How long an answer may become when nobody said: as long as the model has positions for, within reason. */
  #roomAfter(promptLength: number): number {
    return Math.max(1, Math.min(USUAL_ANSWER, this.#model.config.maxPositionEmbeddings - promptLength));
  }

  async #encode(prompt: Prompt): Promise<{ readonly text: string; readonly ids: readonly number[] }> {
    if (prompt.kind === "text") {
      const { ids } = await this.#tokenizer.encode(prompt.text, { addSpecialTokens: true });
      return { text: prompt.text, ids };
    }
    if (!this.hasChatTemplate) {
      throw new UsageError(
        "the tokenizer has no chat template, so there is no way to write a conversation. Give one with --chat_template.",
      );
    }
    return this.#tokenizer.applyChatTemplate(
      prompt.messages.map((message) => ({ ...message })),
      { addGenerationPrompt: true },
    );
  }
}

/** A model may have more rows than its tokenizer has tokens. */
const decodeOptions = { skipSpecialTokens: true, skipUnknownIds: true } as const;
