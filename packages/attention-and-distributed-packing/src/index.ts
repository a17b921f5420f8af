// ---- Variable-length attention -------------------------------------------------------------------------------------------------
export { type AttentionAddon, nativeAddon } from "./native.ts";
