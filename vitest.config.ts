import { defineConfig } from "vitest/config";

// Tests run on the TypeScript sources: the "@fms-accel/source" condition of every package points at src, so no build is needed.
const conditions = ["@fms-accel/source", "module", "node", "import", "default"];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["packages/*/test/**/*.test.ts", "packages-private/*/test/**/*.test.ts"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 60_000,
  },
});
