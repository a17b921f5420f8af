import { expect, test } from "vitest";
import { nativeAddon } from "../src/native.ts";

test("the addon shares the engine and refuses anything else", () => {
  expect(() => nativeAddon().attach({})).toThrow("not the External of @fms-accel/tensor");
  expect(nativeAddon()).toBe(nativeAddon());
});
