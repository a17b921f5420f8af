import { describe, expect, it } from "vitest";
import { LossScaler } from "../../src/optimizer/loss-scaler.ts";

describe("the dynamic loss scale follows torch.amp.GradScaler", () => {
  it("starts at 65536, halves on overflow, doubles after 2000 finite steps in a row", () => {
    const scaler = new LossScaler();
    expect(scaler.scale).toBe(65536);
    scaler.update(false);
    scaler.update(false);
    expect(scaler.scale).toBe(16384);
    for (let step = 0; step < 1999; step++) scaler.update(true);
    expect(scaler.scale).toBe(16384);
    scaler.update(true);
    expect(scaler.scale).toBe(32768);
    expect(scaler.skippedSteps).toBe(2);
  });

  it("begins to count anew after an overflow and after growing", () => {
    const scaler = new LossScaler({ initScale: 8, growthInterval: 3 });
    const scales = [true, true, false, true, true, true, true, true, true].map((finite) => {
      scaler.update(finite);
      return scaler.scale;
    });
    expect(scales).toEqual([8, 8, 4, 4, 4, 8, 8, 8, 16]);
  });

  it("does not grow beyond float32", () => {
    const scaler = new LossScaler({ initScale: 2 ** 127, growthInterval: 1 });
    scaler.update(true);
    expect(scaler.scale).toBe(2 ** 127);
  });

  it("goes on from its state", () => {
    const first = new LossScaler({ growthInterval: 4 });
    for (const finite of [true, false, true, true]) first.update(finite);
    const second = new LossScaler({ growthInterval: 4 });
    second.setState(structuredClone(first.state()));
    for (const finite of [true, true, false]) {
      first.update(finite);
      second.update(finite);
      expect(second.state()).toEqual(first.state());
    }
    expect(second.state()).toEqual({ scale: 32768, growthTracker: 0, skippedSteps: 2 });
  });
});
