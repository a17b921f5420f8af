// Loading
export { AutoTokenizer } from "./auto-tokenizer.ts";
export type { TokenizerLoadOptions } from "./auto-tokenizer.ts";

// Text and ids
export { PreTrainedTokenizer } from "./pretrained-tokenizer.ts";
export type { ApplyChatTemplateOptions, DecodeOptions, EncodedChat, EncodeOptions } from "./tokenizer-options.ts";
export type { Encoding, Side } from "./encoding.ts";
export type { AddedToken, SpecialTokenName } from "./special-tokens.ts";
export type { AddedTokenEntry } from "./definition/definition.ts";

// Streaming
export { TextStreamer } from "./text-streamer.ts";
export type { TextStreamerOptions } from "./text-streamer.ts";
export type { DecodeStream, DecodeStreamOptions } from "./decode-stream.ts";

// Chat templates
export type { ChatMessage, ChatTemplateOptions, ChatTemplates, RenderedChat } from "./chat-template.ts";
export { JinjaError, JinjaTemplate } from "./jinja/index.ts";
export type {
  JinjaErrorType,
  JinjaLimits,
  JinjaRendering,
  JinjaRenderOptions,
  JinjaTemplateOptions,
  Span,
} from "./jinja/index.ts";

// Errors
export { ChatTemplateError, TokenizerError } from "./errors.ts";
