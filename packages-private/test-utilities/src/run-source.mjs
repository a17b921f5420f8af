// Runs a TypeScript file of the sources in a process of its own: node run-source.mjs FILE [ARGUMENTS]. The file's default export is called
// with the arguments. Nothing has to be built.
import { fileURLToPath } from "node:url";
import { createViteServer } from "vitest/node";

const [file, ...words] = process.argv.slice(2);
const server = await createViteServer({
  configFile: false,
  root: fileURLToPath(new URL("../../../", import.meta.url)),
  logLevel: "error",
  appType: "custom",
  oxc: { target: "es2023" },
  optimizeDeps: { noDiscovery: true },
  server: { middlewareMode: true, hmr: false, watch: null, ws: false },
  ssr: { resolve: { conditions: ["@fms-accel/source", "module", "node", "import", "default"] } },
});
const { default: main } = await server.ssrLoadModule(file);
await main(...words);
await server.close();
