import {
  generateStream,
  IncrementalDecoder,
  type FinishReason,
  type GenerationOptions,
  type GenerativeModel,
} from "@fms-accel/models";
import { Generator } from "@fms-accel/tensor";
import { UsageError } from "../errors.ts";
import type { Prompt, PromptMessage } from "./prompts.ts";

/** What is needed of a tokenizer to answer. */
export interface ResponderTokenizer {
  readonly chatTemplate: string | undefined;
  readonly eosTokenId: number | undefined;
  encode(text: string, options: { readonly addSpecialTokens: boolean }): { readonly ids: ArrayLike<number> };
  decode(ids: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string;
  renderChat(
    messages: readonly PromptMessage[],
    options: { readonly addGenerationPrompt: boolean },
  ): { readonly text: string };
}

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
  readonly #tokenizer: ResponderTokenizer;
  readonly #options: GenerationOptions;
  readonly #generator: Generator;
  readonly #device: string;

  constructor(
    model: GenerativeModel,
    tokenizer: ResponderTokenizer,
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
    const encoded = prompts.map((prompt) => this.#encode(prompt));
    const plainDecoder = {
      decode: (ids: readonly number[]) => this.#tokenizer.decode(ids, { skipSpecialTokens: true }),
    };
    const decoder = new IncrementalDecoder(plainDecoder);
    const context = { tokenizer: plainDecoder, generator: this.#generator, device: this.#device, signal };
    const steps = generateStream(this.#model, { inputIds: encoded.map(({ ids }) => ids) }, this.#options, context);
    for (;;) {
      const step = await steps.next();
      if (step.done === true) {
        onText?.(decoder.flush());
        return step.value.tokens.map((tokens, row) => ({
          prompt: encoded[row]?.text ?? "",
          text: plainDecoder.decode(tokens),
          promptTokens: encoded[row]?.ids.length ?? 0,
          newTokens: tokens.length,
          finishReason: step.value.finishReasons[row] ?? "length",
        }));
      }
      const [token] = step.value.tokens;
      if (onText !== undefined && token !== undefined) onText(decoder.push(token));
    }
  }

  #encode(prompt: Prompt): { readonly text: string; readonly ids: number[] } {
    if (prompt.kind === "text") {
      return {
        text: prompt.text,
        ids: Array.from(this.#tokenizer.encode(prompt.text, { addSpecialTokens: true }).ids),
      };
    }
    if (!this.hasChatTemplate) {
      throw new UsageError(
        "the tokenizer has no chat template, so there is no way to write a conversation. Give one with --chat_template.",
      );
    }
    const { text } = this.#tokenizer.renderChat(prompt.messages, { addGenerationPrompt: true });
    return { text, ids: Array.from(this.#tokenizer.encode(text, { addSpecialTokens: false }).ids) };
  }
}
