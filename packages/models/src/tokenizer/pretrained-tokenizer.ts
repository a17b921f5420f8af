import { assistantMask } from "./assistant-mask.ts";
import { Backend } from "./backend.ts";
import {
  chooseTemplate,
  renderChat,
  type ChatMessage,
  type ChatTemplateOptions,
  type ChatTemplates,
  type RenderedChat,
} from "./chat-template.ts";
import { cleanUpTokenization } from "./clean-up.ts";
import { DecodeStream, type DecodeStreamOptions } from "./decode-stream.ts";
import type { AddedTokenEntry } from "./definition/definition.ts";
import { LARGEST_ID } from "./definition/place.ts";
import { Encoding, type Side } from "./encoding.ts";
import { ChatTemplateError, TokenizerError } from "./errors.ts";
import type { TokenizerFiles } from "./files.ts";
import { saveTokenizer } from "./save.ts";
import { type NewSpecialTokens, requireToken, SpecialTokenTable } from "./special-token-table.ts";
import type { AddedToken } from "./special-tokens.ts";
import type { ApplyChatTemplateOptions, DecodeOptions, EncodeOptions, EncodedChat } from "./tokenizer-options.ts";

/** What a tokenizer is built from; `AutoTokenizer` reads it from a directory. */
export interface TokenizerParts {
  readonly files: TokenizerFiles;
  readonly backend: Backend;
  readonly named: ReadonlyMap<string, string>;
  readonly extra: readonly string[];
  readonly templates: ChatTemplates;
  readonly modelMaxLength: number;
  readonly paddingSide: Side;
  readonly truncationSide: Side;
  readonly cleanUpTokenizationSpaces: boolean;
  readonly cleansBpe: boolean;
  readonly addBosToken: boolean;
  readonly addEosToken: boolean;
  readonly warnings: readonly string[];
}

/**
 * A tokenizer of a Hugging Face checkpoint: text to ids and back, special tokens, chat templates. Encoding runs on the native
 * `tokenizers` library, off the main thread; decoding is immediate.
 */
export class PreTrainedTokenizer {
  readonly #files: TokenizerFiles;
  readonly #backend: Backend;
  readonly #special: SpecialTokenTable;
  #templates: ChatTemplates;
  readonly #cleansUp: boolean;
  /** What differs from the files, for saving. */
  readonly #changed = { templates: false, settings: false };
  #modelMaxLength: number;
  #paddingSide: Side;
  #truncationSide: Side;
  /** What was noticed while loading: tokens that the configuration adds, settings that have no effect. */
  readonly warnings: readonly string[];

  constructor(parts: TokenizerParts) {
    this.#files = parts.files;
    this.#backend = parts.backend;
    this.#special = new SpecialTokenTable(parts);
    this.#templates = parts.templates;
    this.#modelMaxLength = parts.modelMaxLength;
    this.#paddingSide = parts.paddingSide;
    this.#truncationSide = parts.truncationSide;
    this.#cleansUp = parts.cleanUpTokenizationSpaces && (parts.cleansBpe || !this.#isBpe);
    this.warnings = parts.warnings;
  }

  get #isBpe(): boolean {
    return this.#backend.definition.model.type === "BPE";
  }

  // ---- Vocabulary

  /** Tokens of the model itself, without the added ones. Embeddings need `length` rows, which is never less. */
  get vocabSize(): number {
    return this.#backend.modelSize;
  }

  /** All tokens, added ones included. */
  get length(): number {
    return this.#backend.size;
  }

  /** Ids by token, added tokens included. A copy. */
  getVocab(): Readonly<Record<string, number>> {
    return this.#backend.vocabulary;
  }

  /** Added tokens by id, ascending. */
  get addedTokens(): readonly AddedTokenEntry[] {
    return this.#backend.addedTokens;
  }

  /** The id of a token, that of the unknown token where it is not in the vocabulary, or undefined where there is none either. */
  convertTokensToIds(token: string): number | undefined;
  convertTokensToIds(tokens: readonly string[]): (number | undefined)[];
  convertTokensToIds(tokens: string | readonly string[]): number | undefined | (number | undefined)[] {
    const idOf = (token: string): number | undefined => this.#backend.tokenToId(token) ?? this.unkTokenId;
    return typeof tokens === "string" ? idOf(tokens) : tokens.map(idOf);
  }

  /** @throws TokenizerError for an id that is out of range. */
  convertIdsToTokens(id: number): string;
  convertIdsToTokens(ids: readonly number[]): string[];
  convertIdsToTokens(ids: number | readonly number[]): string | string[] {
    return Array.isArray(ids) ? ids.map((id: number) => this.#tokenOf(id)) : this.#tokenOf(ids as number);
  }

  #tokenOf(id: number): string {
    const token = this.#lookUp(id);
    if (token === undefined) {
      throw new TokenizerError(`Id ${id} stands for no token: this tokenizer has ${this.length} tokens`);
    }
    return token;
  }

  #lookUp(id: number): string | undefined {
    if (!Number.isInteger(id) || id < 0 || id > LARGEST_ID) {
      throw new TokenizerError(`${String(id)} is no token id; ids are whole numbers from 0 to ${this.length - 1}`);
    }
    return this.#backend.idToToken(id);
  }

  // ---- Special tokens

  get bosToken(): string | undefined {
    return this.#special.get("bos_token");
  }
  set bosToken(token: string | undefined) {
    this.#special.name("bos_token", token);
  }
  get eosToken(): string | undefined {
    return this.#special.get("eos_token");
  }
  set eosToken(token: string | undefined) {
    this.#special.name("eos_token", token);
  }
  get padToken(): string | undefined {
    return this.#special.get("pad_token");
  }
  set padToken(token: string | undefined) {
    this.#special.name("pad_token", token);
  }
  get unkToken(): string | undefined {
    return this.#special.get("unk_token");
  }
  set unkToken(token: string | undefined) {
    this.#special.name("unk_token", token);
  }
  get bosTokenId(): number | undefined {
    return this.#special.idOf("bos_token");
  }
  get eosTokenId(): number | undefined {
    return this.#special.idOf("eos_token");
  }
  get padTokenId(): number | undefined {
    return this.#special.idOf("pad_token");
  }
  get unkTokenId(): number | undefined {
    return this.#special.idOf("unk_token");
  }

  /** Named special tokens by HF's names (`bos_token`, …), those of the model alone included. */
  get specialTokensMap(): ReadonlyMap<string, string> {
    return new Map(this.#special.named);
  }

  /** Special tokens without names (`extra_special_tokens`, earlier `additional_special_tokens`). */
  get additionalSpecialTokens(): readonly string[] {
    return this.#special.extra;
  }

  /** All special tokens, named ones first, each once. */
  get allSpecialTokens(): readonly string[] {
    return [...new Set([...this.#special.named.values(), ...this.#special.extra])];
  }

  get allSpecialIds(): readonly number[] {
    return this.allSpecialTokens.map((token) => this.#backend.tokenToId(token)).filter((id) => id !== undefined);
  }

  /**
   * Names special tokens and adds those that are not in the vocabulary, with ids from `length` on. Returns how many are new;
   * the model's embeddings then need as many further rows.
   */
  addSpecialTokens(tokens: NewSpecialTokens): number {
    return this.#special.add(tokens);
  }

  /** Adds tokens that are matched in the text as a whole. Returns how many are new to the vocabulary. */
  addTokens(tokens: readonly (string | (Partial<AddedToken> & { readonly content: string }))[]): number {
    return this.#special.addPlain(
      tokens.map((token): AddedToken => {
        const given = typeof token === "string" ? { content: token } : token;
        requireToken(given.content, "addTokens");
        return {
          singleWord: false,
          lstrip: false,
          rstrip: false,
          normalized: given.special !== true,
          special: false,
          ...given,
        };
      }),
    );
  }

  /** Whether the post-processor puts the beginning token first. Setting it replaces the post-processor of tokenizer.json. */
  get addBosToken(): boolean {
    return this.#special.addBosToken;
  }
  set addBosToken(value: boolean) {
    this.setBoundaryTokens(value, this.addEosToken);
  }

  /** Whether the post-processor puts the end token last. Setting it replaces the post-processor of tokenizer.json. */
  get addEosToken(): boolean {
    return this.#special.addEosToken;
  }
  set addEosToken(value: boolean) {
    this.setBoundaryTokens(this.addBosToken, value);
  }

  /** Sets `addBosToken` and `addEosToken` at once. @throws TokenizerError where a token that is asked for has no name. */
  setBoundaryTokens(addBosToken: boolean, addEosToken: boolean): void {
    this.#special.setBoundaries(addBosToken, addEosToken);
  }

  // ---- Settings

  /** Longest sequence that the model takes, Infinity where the files do not say. */
  get modelMaxLength(): number {
    return this.#modelMaxLength;
  }
  set modelMaxLength(value: number) {
    if (!(value > 0)) {
      throw new TokenizerError(`modelMaxLength must be positive, not ${value}`);
    }
    this.#modelMaxLength = value;
    this.#changed.settings = true;
  }

  get paddingSide(): Side {
    return this.#paddingSide;
  }
  set paddingSide(side: Side) {
    this.#paddingSide = requireSide(side, "paddingSide");
    this.#changed.settings = true;
  }

  get truncationSide(): Side {
    return this.#truncationSide;
  }
  set truncationSide(side: Side) {
    this.#truncationSide = requireSide(side, "truncationSide");
    this.#changed.settings = true;
  }

  // ---- Text to ids

  /** @throws TokenizerError for what is no text, and for truncation that leaves no room for the special tokens. */
  async encode(text: string, options: EncodeOptions = {}): Promise<Encoding> {
    requireText(text, "encode");
    if (options.pair !== undefined) {
      requireText(options.pair, "encode, pair");
    }
    const limit = this.#limit(options);
    const encoding = new Encoding(await this.#backend.encode(text, options.pair, options.addSpecialTokens ?? true));
    return encoding.truncated(limit, this.#truncationSide);
  }

  /** Encodes texts, or pairs of texts, in parallel. */
  async encodeBatch(
    texts: readonly (string | readonly [string, string])[],
    options: Omit<EncodeOptions, "pair"> = {},
  ): Promise<Encoding[]> {
    texts.forEach((text, index) => {
      for (const part of typeof text === "string" || !Array.isArray(text) ? [text] : text) {
        requireText(part, `encodeBatch, entry ${index}`);
      }
    });
    const limit = this.#limit(options);
    const encodings = await this.#backend.encodeBatch(texts, options.addSpecialTokens ?? true);
    return encodings.map((encoding) => new Encoding(encoding).truncated(limit, this.#truncationSide));
  }

  #limit(options: EncodeOptions): number {
    if (options.truncation !== true) {
      return Infinity;
    }
    const limit = options.maxLength ?? this.#modelMaxLength;
    if (!(limit > 0)) {
      throw new TokenizerError(`maxLength must be positive, not ${limit}`);
    }
    if (options.pair !== undefined && Number.isFinite(limit)) {
      throw new TokenizerError("Truncation of pairs is not supported; encode the sequences one by one");
    }
    return limit;
  }

  // ---- Ids to text

  /** @throws TokenizerError for an id that is out of range, unless `skipUnknownIds`. */
  decode(ids: Iterable<number>, options: DecodeOptions = {}): string {
    const text = this.#backend.decodeTokens(this.#tokensOf(ids, options));
    const cleansUp =
      options.cleanUpTokenizationSpaces === undefined
        ? this.#cleansUp
        : options.cleanUpTokenizationSpaces && !this.#isBpe;
    return cleansUp ? cleanUpTokenization(text) : text;
  }

  decodeBatch(sequences: Iterable<Iterable<number>>, options: DecodeOptions = {}): string[] {
    return Array.from(sequences, (ids) => this.decode(ids, options));
  }

  /** Text from ids as they come: only complete characters, together exactly what `decode` gives for all of them. */
  decodeStream(options: DecodeStreamOptions = {}): DecodeStream {
    return new DecodeStream(
      this.#backend.definition.decoder,
      (tokens) => this.#backend.decodeTokens([...tokens]),
      (ids) => this.#tokensOf(ids, options),
    );
  }

  #tokensOf(ids: Iterable<number>, options: Pick<DecodeOptions, "skipSpecialTokens" | "skipUnknownIds">): string[] {
    const tokens: string[] = [];
    for (const id of ids) {
      const token = options.skipUnknownIds === true ? this.#lookUp(id) : this.#tokenOf(id);
      if (token !== undefined && !(options.skipSpecialTokens === true && this.#backend.isSpecial(token))) {
        tokens.push(token);
      }
    }
    return tokens;
  }

  // ---- Chat

  /** Chat templates by name; a single one is called "default". */
  get chatTemplates(): ChatTemplates {
    return this.#templates;
  }

  /** The default chat template. */
  get chatTemplate(): string | undefined {
    return this.#templates.get("default");
  }
  set chatTemplate(template: string | undefined) {
    const templates = new Map(this.#templates);
    templates.delete("default");
    this.#templates = template === undefined ? templates : new Map([["default", template], ...templates]);
    this.#changed.templates = true;
  }

  /** The template that a call with these options takes. @throws ChatTemplateError where there is none. */
  getChatTemplate(options: Pick<ChatTemplateOptions, "chatTemplate" | "tools"> = {}): string {
    return chooseTemplate(this.#templates, options);
  }

  /** Renders a conversation without encoding it. @throws ChatTemplateError */
  renderChatTemplate(messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): RenderedChat {
    return renderChat(messages, this.getChatTemplate(options), options, this.#special.named);
  }

  /**
   * A conversation as the model was trained to read it. The template writes the special tokens, so the text is encoded
   * without adding more.
   *
   * @throws ChatTemplateError for a template that fails or refuses, with the reference's exception in `type`.
   */
  applyChatTemplate(
    messages: readonly ChatMessage[],
    options: ApplyChatTemplateOptions & { readonly tokenize: false },
  ): Promise<string>;
  applyChatTemplate(
    messages: readonly ChatMessage[],
    options?: ApplyChatTemplateOptions & { readonly tokenize?: true },
  ): Promise<EncodedChat>;
  async applyChatTemplate(
    messages: readonly ChatMessage[],
    options: ApplyChatTemplateOptions = {},
  ): Promise<string | EncodedChat> {
    const masks = options.returnAssistantTokensMask === true;
    if (masks && options.tokenize === false) {
      throw new ChatTemplateError(
        "ValueError",
        "`return_assistant_tokens_mask=True` requires `return_dict=True` and `tokenize=True`",
      );
    }
    if (
      masks &&
      options.continueFinalMessage !== undefined &&
      options.continueFinalMessage !== false &&
      options.addGenerationPrompt !== true
    ) {
      throw new ChatTemplateError(
        "ValueError",
        "continue_final_message is not compatible with return_assistant_tokens_mask.",
      );
    }
    const rendered = this.renderChatTemplate(messages, options);
    if (options.tokenize === false) {
      return rendered.text;
    }
    const { truncation = false, maxLength } = options;
    const encoding = await this.encode(rendered.text, {
      addSpecialTokens: false,
      truncation,
      ...(maxLength === undefined ? {} : { maxLength }),
    });
    return {
      ...rendered,
      encoding,
      ids: encoding.ids,
      assistantMask: masks ? assistantMask(encoding, rendered.generationSpans) : undefined,
    };
  }

  // ---- Files

  /** Writes the tokenizer's files; those that nothing changed in keep their bytes. Returns their paths. */
  async savePretrained(directory: string): Promise<string[]> {
    return saveTokenizer(directory, {
      files: this.#files,
      backend: this.#backend,
      named: this.#special.named,
      extra: this.#special.extra,
      templates: this.#templates,
      settings: {
        modelMaxLength: this.#modelMaxLength,
        paddingSide: this.#paddingSide,
        truncationSide: this.#truncationSide,
      },
      changed: { ...this.#changed, ...this.#special.changed },
    });
  }
}

function requireText(value: unknown, where: string): void {
  if (typeof value !== "string") {
    throw new TokenizerError(`${where}: expected a string, found ${value === null ? "null" : typeof value}`);
  }
}

function requireSide(side: Side, name: string): Side {
  if (side !== "left" && side !== "right") {
    throw new TokenizerError(`${name} must be "left" or "right", not ${JSON.stringify(side)}`);
  }
  return side;
}
