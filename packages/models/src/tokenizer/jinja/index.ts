export { JinjaTemplate } from "./template.ts";
export type { JinjaRendering, JinjaRenderOptions, JinjaTemplateOptions } from "./template.ts";
export { JinjaError } from "./errors.ts";
export type { JinjaErrorType } from "./errors.ts";
export { DEFAULT_LIMITS } from "./limits.ts";
export type { JinjaLimits } from "./limits.ts";
export type { Span } from "./renderer.ts";
