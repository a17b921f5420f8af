#!/usr/bin/env node
import { existsSync } from "node:fs";

const entry = new URL("../dist/command-line.js", import.meta.url);
if (existsSync(entry)) {
  const { main } = await import(entry.href);
  await main(process.argv.slice(2));
} else {
  console.error("error: fms-accel is not built yet. In the repository, run: npm start");
  process.exitCode = 1;
}
