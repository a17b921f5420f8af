import { fileURLToPath } from "node:url";

/** The program that runs a TypeScript file of the sources in a process of its own: `node sourceRunner FILE [ARGUMENTS]`. */
export const sourceRunner: string = fileURLToPath(new URL("run-source.mjs", import.meta.url));
