/** A text in tokens. */
export interface TextEncoding {
  readonly ids: ArrayLike<number>;
  /** Per token the part of the text that it covers: [start, end) in Unicode code points. */
  readonly offsets: ArrayLike<readonly [start: number, end: number]>;
  /** 1 where the tokenizer added the token itself (`<s>` in front). */
  readonly specialTokensMask: ArrayLike<number>;
}

/** A turn of a conversation: its role, its content, and what else its template reads. */
export type ChatMessage = Readonly<Record<string, unknown>>;

/** What is needed of a tokenizer here: a part of `PreTrainedTokenizer` of `@fms-accel/models`, which is one. */
export interface DataTokenizer {
  readonly eosToken: string | undefined;
  readonly bosTokenId: number | undefined;
  /** Special tokens by their name in templates, `eos_token` and so on. */
  readonly specialTokensMap: ReadonlyMap<string, string>;
  /** Longest sequence that the model takes; Infinity where unknown. */
  readonly modelMaxLength: number;
  /** The text in tokens, not truncated. */
  encode(text: string, options: { readonly addSpecialTokens: boolean }): TextEncoding | Promise<TextEncoding>;
  /** Jinja source of the chat template that is used with these tools. */
  getChatTemplate(options: Pick<ChatRenderOptions, "tools">): string;
  /** The conversation as text. */
  renderChatTemplate(messages: readonly ChatMessage[], options: ChatRenderOptions): RenderedChat;
}

/** What a chat template gets beside the messages. */
export interface ChatRenderOptions {
  readonly addGenerationPrompt?: boolean;
  readonly tools?: readonly Readonly<Record<string, unknown>>[];
  readonly documents?: readonly Readonly<Record<string, unknown>>[];
  /** The time that a template writes (`strftime_now`). */
  readonly now?: () => Date;
}

/** A conversation as text. */
export interface RenderedChat {
  readonly text: string;
  /** What stands in `{% generation %}` blocks, [start, end) in code points; empty where the template has none. */
  readonly generationSpans: readonly (readonly [start: number, end: number])[];
}
