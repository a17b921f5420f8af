import { paddingFreeAccelerationPlugin } from "./padding-free/padding-free-plugin.ts";

/** What the framework finds in this package. */
export const plugins = [paddingFreeAccelerationPlugin] as const;
