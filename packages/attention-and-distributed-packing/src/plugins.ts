import type { AccelerationPlugin } from "@fms-accel/framework";
import { multipackAccelerationPlugin } from "./data/multipack-plugin.ts";
import { paddingFreeAccelerationPlugin } from "./padding-free/padding-free-plugin.ts";

/** What the framework finds in this package. */
export const plugins: readonly AccelerationPlugin[] = [paddingFreeAccelerationPlugin, multipackAccelerationPlugin];
