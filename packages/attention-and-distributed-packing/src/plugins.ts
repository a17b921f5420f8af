import type { AccelerationPlugin } from "@fms-accel/framework";
import { paddingFreeAccelerationPlugin } from "./padding-free/padding-free-plugin.ts";

/** What the framework finds in this package. */
export const plugins: readonly AccelerationPlugin[] = [paddingFreeAccelerationPlugin];
