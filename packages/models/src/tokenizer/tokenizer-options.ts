/** What encoding, decoding and chat templates can be asked for. */
import type { ChatTemplateOptions, RenderedChat } from "./chat-template.ts";
import type { Encoding } from "./encoding.ts";

export interface EncodeOptions {
  /** A second sequence, as in question and context. */
  readonly pair?: string;
  /** Let the post-processor add its special tokens. Default true. */
  readonly addSpecialTokens?: boolean;
  /** Cut to `maxLength` tokens, special ones included, on the `truncationSide`. Default false. */
  readonly truncation?: boolean;
  /** Default: `modelMaxLength`. */
  readonly maxLength?: number;
}

export interface DecodeOptions {
  /** Leave special tokens out. Default false. */
  readonly skipSpecialTokens?: boolean;
  /** Remove spaces before punctuation. Default: as the configuration says. Has no effect on BPE tokenizers, as in Transformers 5. */
  readonly cleanUpTokenizationSpaces?: boolean;
  /** Leave out ids that stand for no token, in place of an error: a model may have more rows than its tokenizer has tokens. */
  readonly skipUnknownIds?: boolean;
}

export interface ApplyChatTemplateOptions extends ChatTemplateOptions {
  /** Default true; false gives the text alone. */
  readonly tokenize?: boolean;
  /** Also tell which tokens `{% generation %}` blocks wrote. A template without such blocks gives zeros. */
  readonly returnAssistantTokensMask?: boolean;
  /** Cut to `maxLength` tokens. Default false. */
  readonly truncation?: boolean;
  readonly maxLength?: number;
}

export interface EncodedChat extends RenderedChat {
  readonly encoding: Encoding;
  readonly ids: readonly number[];
  /** 1 for tokens that the assistant wrote; only with `returnAssistantTokensMask`. */
  readonly assistantMask: readonly number[] | undefined;
}
