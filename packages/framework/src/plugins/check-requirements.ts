import { PluginError } from "../errors.ts";
import type { AccelerationPlugin } from "./acceleration-plugin.ts";
import { locatePackage } from "./project.ts";

/**
 * Sees to it that what an active plugin needs is there.
 *
 * @param from the folder from which its packages are looked for
 * @throws PluginError that says what is missing and how to get it
 */
export async function checkRequirements(
  { name, requiredPackages = [], kernels = [] }: AccelerationPlugin,
  from: string,
  checkPackages: boolean,
): Promise<void> {
  const missing = requiredPackages.filter((required) => checkPackages && locatePackage(required, from) === undefined);
  if (missing.length > 0) {
    const verb = missing.length === 1 ? "package" : "packages";
    throw new PluginError(
      `The active plugin ${name} needs the ${verb} ${missing.join(", ")}. Add what is missing: npm install ${missing.join(" ")}`,
    );
  }
  for (const kernel of kernels) {
    try {
      await kernel.load();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new PluginError(
        `The active plugin ${name} needs the kernel ${kernel.name}, which cannot be used: ${reason}`,
        {
          cause: error,
        },
      );
    }
  }
}
