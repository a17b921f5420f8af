/** A text in tokens. */
export interface TextEncoding {
  readonly ids: ArrayLike<number>;
  /** Per token the part of the text that it covers: [start, end) in Unicode code points. */
  readonly offsets: ArrayLike<readonly [start: number, end: number]>;
  /** 1 where the tokenizer added the token itself (`<s>` in front). */
  readonly specialTokensMask: ArrayLike<number>;
}

/** A turn of a conversation; templates may use further keys. */
export interface ChatMessage {
  readonly role: string;
  readonly content?: unknown;
  readonly [key: string]: unknown;
}

/** What is needed of a tokenizer here; `PreTrainedTokenizer` of `@fms-accel/models` has it. */
export interface DataTokenizer {
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
  readonly unkToken: string | undefined;
  readonly padToken: string | undefined;
  readonly bosTokenId: number | undefined;
  /** Longest text that the model is made for; very large where unknown. */
  readonly modelMaxLength: number;
  /** Jinja source of the chat template. */
  readonly chatTemplate: string | undefined;
  /** The text in tokens, not truncated. */
  encode(text: string, options: { readonly addSpecialTokens: boolean }): TextEncoding | Promise<TextEncoding>;
  /** The conversation as text. */
  renderChat(messages: readonly ChatMessage[], options: ChatRenderOptions): RenderedChat;
}

/** What a chat template gets beside the messages. */
export interface ChatRenderOptions {
  readonly addGenerationPrompt?: boolean;
  readonly tools?: readonly unknown[];
  readonly documents?: readonly unknown[];
}

/** A conversation as text. */
export interface RenderedChat {
  readonly text: string;
  /** What stands in `{% generation %}` blocks, [start, end) in code points; empty where the template has none. */
  readonly generationSpans: readonly (readonly [start: number, end: number])[];
}
