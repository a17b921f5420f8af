// ---- Variable-length attention -------------------------------------------------------------------------------------------------
export { variableLengthAttention, type VariableLengthAttentionOptions } from "./ops/variable-length-attention.ts";
