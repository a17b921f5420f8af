import { describe, expect, it } from "vitest";
import { renderCurve, wantsLogarithm } from "../../src/terminal/loss-chart.ts";

const falling = Array.from({ length: 50 }, (_, index) => ({ step: index + 1, value: 5 * Math.exp(-index / 10) }));

describe("renderCurve", () => {
  it("falls from the upper left to the lower right", () => {
    const lines = renderCurve(falling, 60, 6, false);
    expect(lines).toHaveLength(8);
    const filled = lines.slice(0, 6).map((line) => line.replace(/^.*┤/, "").length);
    expect(filled).toEqual([...filled].sort((a, b) => a - b));
    expect(filled[0]).toBeLessThan(12);
    expect(filled[5]).toBeGreaterThan(35);
    expect(lines[0]).toContain("4.76");
    expect(lines.at(-1)).toMatch(/step 1 +50$/);
  });

  it("takes a logarithmic scale for a curve that falls far, so that its end can be seen", () => {
    const steep = Array.from({ length: 50 }, (_, index) => ({ step: index + 1, value: 4 * Math.exp(-index / 5) }));
    expect(wantsLogarithm(steep)).toBe(true);
    const lines = renderCurve(steep, 61, 8);
    expect(lines[0]).toMatch(/^ +4\.00 ┤█/);
    expect(lines[7]).toMatch(/^ *0\.000222 ┤█+/);
    const filled = lines.slice(0, 8).map((line) => line.replace(/^.*┤/, "").length);
    // A straight line: every row is as much longer than the one above it.
    filled.slice(1).forEach((length, row) => expect(Math.abs(length - (filled[row] ?? 0) - 50 / 8)).toBeLessThan(2));
    expect(
      wantsLogarithm([
        { step: 1, value: 5 },
        { step: 2, value: 0 },
      ]),
    ).toBe(false);
  });

  it("keeps within its width", () => {
    for (const width of [24, 40, 80, 200]) {
      for (const line of renderCurve(falling, width)) expect(line.length).toBeLessThanOrEqual(width);
    }
  });

  it("is empty without two finite points, and leaves out what is not finite", () => {
    expect(renderCurve([], 80)).toEqual([]);
    expect(
      renderCurve(
        [
          { step: 1, value: 2 },
          { step: 2, value: Number.NaN },
        ],
        80,
      ),
    ).toEqual([]);
    expect(renderCurve([...falling, { step: 51, value: Number.POSITIVE_INFINITY }], 80)).toEqual(
      renderCurve(falling, 80),
    );
  });

  it("draws runs of any length", () => {
    const long = Array.from({ length: 300_000 }, (_, index) => ({ step: index + 1, value: 1 + 1 / (index + 1) }));
    expect(renderCurve(long, 80)).toHaveLength(10);
  });

  it("draws a constant curve", () => {
    const flat = [1, 2, 3].map((step) => ({ step, value: 0 }));
    expect(renderCurve(flat, 40).join("")).not.toContain("NaN");
  });
});
