// ---- Models --------------------------------------------------------------------------------------------------------
export { AutoConfig } from "./auto/auto-config.ts";
export { AutoModelForCausalLM, type ModelCreateOptions, type ModelLoadOptions } from "./auto/auto-model.ts";
export { modelTensors, savePretrained, type SaveOptions } from "./auto/save-pretrained.ts";
export { CausalLM, type CausalLMInputs, type CausalLMOutput, type TiedWeight } from "./modeling/causal-lm.ts";
export type { AttendOptions, AttentionContext, AttentionFunction } from "./modeling/attention-context.ts";
export { Backbone } from "./modeling/backbone.ts";
export type { KeyValueCache } from "./modeling/key-value-cache.ts";
export type { DecoderLayer, LayerContext } from "./modeling/run-layers.ts";
export { Decoder, DecoderForCausalLM, type Norm } from "./modeling/decoder.ts";
export {
  type Gpt2Attention,
  Gpt2Block,
  Gpt2Decoder,
  Gpt2DecoderForCausalLM,
  type Gpt2MLP,
} from "./modeling/gpt2-decoder.ts";
export { initialiseWeights, type SelfInitialising } from "./modeling/initialise.ts";

// ---- Architectures -------------------------------------------------------------------------------------------------
export type { Architecture, ModelOptions, TensorMapping, TensorPart } from "./architectures/architecture.ts";
export { ARCHITECTURES } from "./architectures/registry.ts";
export {
  LlamaAttention,
  type LlamaConfig,
  LlamaDecoderLayer,
  LlamaForCausalLM,
  LlamaMLP,
  LlamaModel,
} from "./architectures/llama.ts";
export {
  GraniteMoeDecoderLayer,
  GraniteMoeForCausalLM,
  GraniteMoeModel,
  GraniteMoeMoE,
  GraniteMoeParallelExperts,
  GraniteMoeRouter,
  type GraniteMoeConfig,
} from "./architectures/granitemoe.ts";
export {
  GraniteMoeSharedDecoderLayer,
  GraniteMoeSharedForCausalLM,
  GraniteMoeSharedMLP,
  type GraniteMoeSharedConfig,
} from "./architectures/granitemoeshared.ts";
export {
  MixtralDecoderLayer,
  MixtralExpert,
  MixtralForCausalLM,
  MixtralModel,
  MixtralSparseMoeBlock,
  type MixtralConfig,
} from "./architectures/mixtral.ts";
export {
  Qwen3MoeDecoderLayer,
  Qwen3MoeForCausalLM,
  Qwen3MoeModel,
  Qwen3MoeSparseMoeBlock,
  type Qwen3MoeConfig,
} from "./architectures/qwen3-moe.ts";
export {
  GemmaAttention,
  type GemmaConfig,
  GemmaDecoderLayer,
  GemmaForCausalLM,
  GemmaModel,
} from "./architectures/gemma.ts";
export {
  Gemma2Attention,
  type Gemma2Config,
  Gemma2DecoderLayer,
  Gemma2ForCausalLM,
  Gemma2Model,
} from "./architectures/gemma2.ts";
export {
  Gemma3Attention,
  type Gemma3Config,
  Gemma3DecoderLayer,
  Gemma3ForCausalLM,
  Gemma3Model,
} from "./architectures/gemma3-text.ts";
export {
  GPTBigCodeAttention,
  type GPTBigCodeConfig,
  GPTBigCodeForCausalLM,
  GPTBigCodeMLP,
} from "./architectures/gpt-bigcode.ts";
export {
  GPTNeoXAttention,
  type GPTNeoXConfig,
  GPTNeoXForCausalLM,
  GPTNeoXLayer,
  GPTNeoXMLP,
  GPTNeoXModel,
} from "./architectures/gpt-neox.ts";
export { GPT2Attention, type GPT2Config, GPT2LMHeadModel, GPT2MLP } from "./architectures/gpt2.ts";
export {
  GraniteAttention,
  type GraniteConfig,
  GraniteDecoderLayer,
  GraniteForCausalLM,
  GraniteModel,
} from "./architectures/granite.ts";
export {
  MistralAttention,
  type MistralConfig,
  MistralDecoderLayer,
  MistralForCausalLM,
  MistralModel,
} from "./architectures/mistral.ts";
export {
  Olmo2Attention,
  type Olmo2Config,
  Olmo2DecoderLayer,
  Olmo2ForCausalLM,
  Olmo2Model,
  Olmo2RMSNorm,
} from "./architectures/olmo2.ts";
export {
  Phi3Attention,
  type Phi3Config,
  Phi3DecoderLayer,
  Phi3ForCausalLM,
  Phi3MLP,
  Phi3Model,
} from "./architectures/phi3.ts";
export {
  Qwen2Attention,
  type Qwen2Config,
  Qwen2DecoderLayer,
  Qwen2ForCausalLM,
  Qwen2Model,
} from "./architectures/qwen2.ts";
export {
  Qwen3Attention,
  type Qwen3Config,
  Qwen3DecoderLayer,
  Qwen3ForCausalLM,
  Qwen3Model,
} from "./architectures/qwen3.ts";
export {
  SmolLM3Attention,
  type SmolLM3Config,
  SmolLM3DecoderLayer,
  SmolLM3ForCausalLM,
  SmolLM3Model,
} from "./architectures/smollm3.ts";
export {
  Starcoder2Attention,
  type Starcoder2Config,
  Starcoder2DecoderLayer,
  Starcoder2ForCausalLM,
  Starcoder2MLP,
  Starcoder2Model,
} from "./architectures/starcoder2.ts";
export {
  StableLmAttention,
  type StableLmConfig,
  StableLmDecoderLayer,
  StableLmForCausalLM,
  StableLmLayerNormPerHead,
  StableLmModel,
} from "./architectures/stablelm.ts";

// ---- Configuration -------------------------------------------------------------------------------------------------
export type { CausalLMConfig } from "./config/causal-lm-config.ts";
export type { DecoderConfig } from "./config/decoder-config.ts";
export type { Gpt2LikeConfig } from "./config/gpt2-fields.ts";
export type { LayerWindows } from "./config/layer-windows.ts";
export type { ConfigOptions, WarningSink } from "./config/config-source.ts";

// ---- Layers (composed functions that plugins replace) --------------------------------------------------------------
export { type Activation, activation, ACTIVATION_NAMES, type ActivationName } from "./layers/activations.ts";
export { causalAttention, type CausalAttentionOptions, composedAttention } from "./layers/attention.ts";
export {
  causalLMOutput,
  IGNORE_INDEX,
  type LanguageModelHead,
  type LogitsTransform,
  nextTokenLoss,
  shiftedTargets,
} from "./layers/language-model-head.ts";
export {
  type ExpertLayer,
  type Experts,
  gatedExperts,
  type GatedExpert,
  type GatedLayers,
  linearOfExperts,
  type LowRankChange,
  mixtureOfExperts,
  oneByOne,
  type Routing,
} from "./layers/experts.ts";
export { loadBalancingLoss } from "./layers/router-loss.ts";
export { attendHeads, splitHeads } from "./layers/attend-heads.ts";
export { Conv1D } from "./layers/conv1d.ts";
export { GatedMLP, type GatedMLPSizes } from "./layers/gated-mlp.ts";
export { GemmaRMSNorm } from "./layers/gemma-rms-norm.ts";
export { linearCrossEntropy, type LinearCrossEntropyOptions, rowsPerChunk } from "./layers/linear-cross-entropy.ts";
export { RMSNorm } from "./layers/rms-norm.ts";
export {
  cumulativeLengths,
  hidesKeys,
  numberSequences,
  packedSequenceIds,
  sequenceLayout,
  type SequenceLayout,
} from "./layers/sequence-layout.ts";
export type { InputFacts, Targets } from "./modeling/input-facts.ts";
export { applyPartialRotary } from "./rope/apply-partial-rotary.ts";
export { applyRotary } from "./rope/apply-rotary.ts";
export { attentionScaling, dependsOnLength, equivalentLength, rotaryFrequencies } from "./rope/frequencies.ts";
export { type Positions, RotaryEmbedding, type RotaryPhases } from "./rope/rotary-embedding.ts";
export type { RopeParameters, RopeType } from "./rope/rope-parameters.ts";

// ---- Files ---------------------------------------------------------------------------------------------------------
export { writeFileAtomically, writeTextAtomically } from "./files/atomic-write.ts";
export { type JsonDocument, parseJson } from "./json/json-document.ts";
export { Checkpoint, type CheckpointTensor } from "./safetensors/checkpoint.ts";
export { type SafetensorsHeader, type TensorEntry } from "./safetensors/header.ts";
export { readSafetensorsHeader, SafetensorsFile } from "./safetensors/safetensors-file.ts";
export { parseByteSize, writeShards } from "./safetensors/shards.ts";
export { type PendingTensor, type StorableTensor, writeSafetensors } from "./safetensors/writer.ts";

// ---- Adapters ------------------------------------------------------------------------------------------------------
export { LoraConfig, type LoraBias, type LoraConfigOptions } from "./peft/lora-config.ts";
export { PEFT_VERSION } from "./peft/lora-config-fields.ts";
export { LoraEmbedding } from "./peft/lora-embedding.ts";
export { LoraLayer } from "./peft/lora-layer.ts";
export { LoraLinear } from "./peft/lora-linear.ts";
export { addLoraProduct } from "./peft/lora-product.ts";
export { ModulesToSaveWrapper } from "./peft/modules-to-save.ts";
export type {
  AdapterOptions,
  LoadAdapterOptions,
  NewAdapterOptions,
  SaveAdapterOptions,
  SaveMergedOptions,
} from "./peft/adapter-options.ts";
export { AdapterModel } from "./peft/adapter-model.ts";
export { openAdapter } from "./peft/open-adapter.ts";
export { getPeftModel, PeftModel } from "./peft/peft-model.ts";
export {
  PromptTuningConfig,
  type PromptTuningConfigOptions,
  type PromptTuningInit,
} from "./peft/prompt-tuning-config.ts";
export { PromptTuningModel } from "./peft/prompt-tuning-model.ts";
export type { CombinationType, WeightedAdapterOptions } from "./peft/weighted-adapter.ts";

// ---- Generation ----------------------------------------------------------------------------------------------------
export { DynamicCache, type DynamicCacheOptions } from "./generation/dynamic-cache.ts";
export {
  generate,
  type GenerateContext,
  generateStream,
  type GenerationContext,
  type GenerationResult,
  type GenerationStep,
  type GenerativeModel,
} from "./generation/generate.ts";
export { GenerationConfig, type GenerationOptions } from "./generation/generation-config.ts";
export type { GenerationInputs } from "./generation/prompt-batch.ts";
export type { FinishReason, TokenDecoder } from "./generation/stop-conditions.ts";

// ---- Tokenizers ----------------------------------------------------------------------------------------------------
export {
  AutoTokenizer,
  ChatTemplateError,
  JinjaError,
  JinjaTemplate,
  PreTrainedTokenizer,
  TextStreamer,
  TokenizerError,
} from "./tokenizer/index.ts";
export type {
  AddedToken,
  AddedTokenEntry,
  ApplyChatTemplateOptions,
  ChatMessage,
  ChatTemplateOptions,
  ChatTemplates,
  DecodeOptions,
  DecodeStream,
  DecodeStreamOptions,
  EncodedChat,
  EncodeOptions,
  Encoding,
  JinjaErrorType,
  JinjaLimits,
  JinjaRendering,
  JinjaRenderOptions,
  JinjaTemplateOptions,
  RenderedChat,
  Side,
  Span,
  SpecialTokenName,
  TextStreamerOptions,
  TokenizerLoadOptions,
} from "./tokenizer/index.ts";

// ---- Errors --------------------------------------------------------------------------------------------------------
export { CheckpointError, ConfigError, ModelInputError, ModelsError, SafetensorsError } from "./errors.ts";
export { GenerationError } from "./generation/errors.ts";
export { AdapterConfigError, AdapterError } from "./peft/errors.ts";
